/**
 * Admission put together: per campaign a gate and a direct intake, one queued intake for all, and the choice between the two by the
 * campaign's definition. The order of questions for an entry:
 *
 *   stopping? -> campaign known? -> refusal from memory -> member's own rate -> queued: first verdict of who is in, else the bus
 *                                                                            -> direct: the micro-batch
 */
import type { LaneState, MemberKey } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import { OperationalError } from '../errors.ts';
import type { AdmissionAnswer, AdmissionCommand, AdmissionLedger, MemberEntry } from '../ledger.ts';
import type { CampaignBook, KnownCampaign } from '../live/campaign-book.ts';
import type { Metrics } from '../live/metrics.ts';
import type { Randomness } from '../randomness.ts';
import type { Vault } from '../vault.ts';
import type { Admission, Submission, SubmissionAnswer } from './admission.ts';
import { Decided } from './decided.ts';
import { DirectIntake } from './direct.ts';
import { Gate } from './gate.ts';
import type { Defer, Waiter } from './micro-batch.ts';
import { type EntryQueue, QueuedIntake } from './queued.ts';
import { Salts } from './salts.ts';
import type { Turnstile } from './turnstile.ts';

export interface AdmissionOptions {
  readonly ledger: AdmissionLedger;
  readonly campaigns: CampaignBook;
  readonly turnstile: Turnstile;
  readonly queue: EntryQueue;
  readonly vault: Vault;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly metrics: Metrics;
  /** Entries waiting per campaign at most. */
  readonly waitingEntries: number;
  /** Default `setImmediate`: after the requests that already arrived. */
  readonly defer?: Defer;
}

export interface RunningAdmission extends Admission {
  /**
   * Reads who is in for the campaigns given (those not closed), counts what an earlier process left in the queue and begins to
   * consume it. Call once the bus runs and before listening.
   */
  start(campaigns: Iterable<string>): Promise<void>;
  /** Entries in the queue that this process published and that are not settled. */
  pending(): number;
  /** Entries asked for since the start, whatever became of them. How fast it grows says how large the crowd is. */
  asked(): number;
}

interface Room {
  readonly gate: Gate;
  readonly direct: DirectIntake;
}

const pending: SubmissionAnswer = Object.freeze({ kind: 'pending' });

export function createAdmission(options: AdmissionOptions): RunningAdmission {
  return new Intakes(options);
}

class Intakes implements RunningAdmission {
  readonly #options: AdmissionOptions;
  readonly #rooms = new Map<string, Room>();
  readonly #decided = new Decided();
  readonly #queued: QueuedIntake;
  readonly #salts: Salts;
  readonly #unsubscribe: () => void;
  #draining = false;
  #asked = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#salts = new Salts(options.randomness);
    this.#unsubscribe = options.campaigns.onLane((lane) => this.#rooms.get(lane.campaign)?.gate.moved(lane));
    this.#queued = new QueuedIntake({
      ...options,
      onAnswers: (campaignId, commands, answers, ms) => {
        this.#rooms.get(campaignId)?.gate.committed(commands, answers);
        this.#answered(campaignId, commands, answers, ms);
      },
    });
  }

  async start(campaigns: Iterable<string>): Promise<void> {
    for (const campaignId of campaigns) {
      const campaign = await this.#options.campaigns.find(campaignId);
      if (campaign?.lane) await this.#roomOf(campaign).gate.load();
    }
    await this.#queued.start();
  }

  pending(): number {
    return this.#queued.pendingCount();
  }

  asked(): number {
    return this.#asked;
  }

  refusal(campaign: KnownCampaign, memberKey: MemberKey): AdmissionAnswer | null {
    if (this.#draining) throw draining();
    // A lane that lost entries knows neither who is in nor what is left: the ledger says so to everybody.
    if (this.#options.ledger.isHalted(campaign.id)) return null;
    const room = this.#roomOf(campaign);
    const refusal = room.direct.refusal(memberKey);
    if (!refusal || (campaign.intake === 'queued' && this.#queued.isPending(campaign.id, memberKey)))
      return null;
    this.#asked += 1;
    this.#options.metrics.verdict(refusal.decision.verdict, false);
    return refusal;
  }

  enter(campaign: KnownCampaign, submission: Submission, waiter: Waiter): void {
    this.#asked += 1;
    if (this.#draining) throw draining();
    this.#countMember(submission.memberKey);
    this.#enterRoom(this.#roomOf(campaign), submission, waiter);
  }

  async submit(campaignId: string, submission: Submission): Promise<SubmissionAnswer> {
    if (this.#draining) throw draining();
    const { campaigns } = this.#options;
    const campaign = campaigns.peek(campaignId) ?? (await campaigns.find(campaignId));
    // A draft is nobody's business but the operator's.
    if (!campaign?.lane) throw new OperationalError('CAMPAIGN_UNKNOWN');
    const refusal = this.refusal(campaign, submission.memberKey);
    if (refusal) return { kind: 'decided', answer: refusal };
    if (campaign.intake === 'queued') {
      this.#asked += 1;
      this.#countMember(submission.memberKey);
      return this.#submitQueued(this.#roomOf(campaign), campaign.lane, submission);
    }
    const answer = await new Promise<AdmissionAnswer>((resolve, reject) =>
      this.enter(campaign, submission, { answered: resolve, failed: reject }),
    );
    return { kind: 'decided', answer };
  }

  isPending(campaignId: string, memberKey: MemberKey): boolean {
    return (
      this.#options.campaigns.peek(campaignId)?.intake === 'queued' &&
      this.#queued.isPending(campaignId, memberKey)
    );
  }

  lastRefusal(campaignId: string, memberKey: MemberKey): AdmissionAnswer | null {
    return this.#queued.lastRefusal(campaignId, memberKey);
  }

  onDecided(
    campaignId: string,
    memberKey: MemberKey,
    listener: (answer: AdmissionAnswer) => void,
  ): () => void {
    return this.#decided.on(campaignId, memberKey, listener);
  }

  *waiting(): Iterable<readonly [string, number]> {
    for (const [campaignId, room] of this.#rooms)
      if (room.direct.waiting > 0) yield [campaignId, room.direct.waiting];
  }

  async drain(): Promise<void> {
    this.#draining = true;
    await this.#queued.drain();
    await Promise.all([...this.#rooms.values()].map((room) => room.direct.settled()));
    this.#unsubscribe();
  }

  async #submitQueued(room: Room, lane: LaneState, submission: Submission): Promise<SubmissionAnswer> {
    const { ledger, clock, metrics } = this.#options;
    const { campaignId } = room.gate;
    if (ledger.isHalted(campaignId)) throw new OperationalError('LEDGER_HALTED');
    if (room.gate.mayBeIn(submission.memberKey)) {
      const entry = await ledger.entryOf(campaignId, submission.memberKey);
      if (entry) {
        metrics.verdict(entry.verdict, true);
        return { kind: 'decided', answer: firstAnswer(entry) };
      }
    }
    const notYet = this.#queued.isPending(campaignId, submission.memberKey)
      ? null
      : refusedForNow(lane, clock.now());
    if (notYet) {
      metrics.verdict(notYet.decision.verdict, false);
      return { kind: 'decided', answer: notYet };
    }
    await this.#queued.submit(campaignId, this.#commandOf(submission));
    metrics.verdict('pending', false);
    return pending;
  }

  #enterRoom({ direct }: Room, submission: Submission, waiter: Waiter): void {
    if (direct.isFull) this.#options.metrics.shed('waiting-entries');
    direct.submit(this.#commandOf(submission), waiter);
  }

  #countMember(memberKey: MemberKey): void {
    const state = this.#options.turnstile.member(memberKey);
    if (state.allowed) return;
    this.#options.metrics.shed('member-rate');
    throw new OperationalError('RATE_LIMITED', { retryAfterMs: state.waitMs });
  }

  #commandOf({ memberKey, answers, screenedOut }: Submission): AdmissionCommand {
    return { memberKey, salt: this.#salts.next(), answers, screenedOut };
  }

  #roomOf({ id, lane }: KnownCampaign): Room {
    const known = this.#rooms.get(id);
    if (known) return known;
    if (!lane) throw new OperationalError('CAMPAIGN_UNKNOWN');
    const { ledger, clock, waitingEntries, defer } = this.#options;
    const gate = new Gate(id, lane, ledger, clock);
    const direct = new DirectIntake({
      gate,
      ledger,
      clock,
      limit: waitingEntries,
      defer: defer ?? setImmediate,
      onAnswers: (commands, answers, ms) => this.#answered(id, commands, answers, ms),
    });
    const room = { gate, direct };
    this.#rooms.set(id, room);
    gate.load().catch(() => undefined);
    return room;
  }

  #answered(
    campaignId: string,
    commands: readonly AdmissionCommand[],
    answers: readonly AdmissionAnswer[],
    ms: number,
  ): void {
    const { metrics } = this.#options;
    metrics.batch(commands.length, ms);
    for (const { decision } of answers)
      metrics.verdict(decision.verdict, 'repeated' in decision && decision.repeated);
    this.#decided.tell(campaignId, commands, answers);
  }
}

const draining = (): OperationalError => new OperationalError('LEDGER_CLOSED', { retryAfterMs: 2_000 });

/** Queued intake takes no entry that would only wait: by the same clock and the committed lane, it is too early or paused. */
function refusedForNow(lane: LaneState, now: number): AdmissionAnswer | null {
  const refused = { receipt: null, salt: null, at: now };
  if (lane.phase === 'scheduled' && now < lane.startsAt)
    return { ...refused, decision: { verdict: 'not-open', opensAt: lane.startsAt } };
  if (lane.phase === 'paused') return { ...refused, decision: { verdict: 'paused' } };
  return null;
}

/** The first answer again, from the stored entry. */
export function firstAnswer(entry: MemberEntry): AdmissionAnswer {
  const { verdict, seq, recordNo, receipt, salt, at } = entry;
  // The unit of the first answer, not the one held now: a promotion, a replacement or a revocation may have changed that.
  const { unit } = JSON.parse((JSON.parse(receipt) as { record: string }).record) as { unit: number | null };
  return { decision: { verdict, seq, recordNo, unit, repeated: true }, receipt, salt, at };
}
