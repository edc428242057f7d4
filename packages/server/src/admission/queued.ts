/**
 * Queued intake: the entry goes to the bus and is answered `pending` once its publish is confirmed; the consumer feeds the same `admit`
 * in queue order, and the member hears the verdict from `entries/mine`.
 *
 *   submit --publish confirmed--> pending --consumed, committed--> won | waitlisted | a refusal
 *
 * A redelivered message is a repeat by the member's uniqueness: it gets the first seq. The one thing that must never happen is a final
 * refusal to somebody whose entry is still in the queue. This process knows whom it published for; after a restart it does not know whom the
 * process before it published for, so until that backlog is gone everybody who is not in counts as pending.
 */
import type { MemberKey } from '@doorbuster/core';
import { ack, type Clock, deadLetter, type Outcome, pause, snooze } from '@doorbuster/messaging';
import { OperationalError } from '../errors.ts';
import type { AdmissionAnswer, AdmissionCommand, AdmissionLedger } from '../ledger.ts';
import type { Randomness } from '../randomness.ts';
import type { Vault } from '../vault.ts';

/** The queue of entries as this intake needs it: `entry-queue.ts` is the bus. */
export interface EntryQueue {
  /** Resolves when the entry is durably stored. Rejecting means not stored, or unknown: publishing again is harmless. */
  publish(data: { readonly campaignId: string; readonly sealed: string }): Promise<void>;
  /** Entries stored and not settled. */
  backlog(): Promise<number>;
  /** Hands entries to the consumer, oldest first, from now on. */
  consume(handle: (messages: readonly EntryMessage[]) => Promise<Outcome[]>): Promise<void>;
}

/** A message of the channel `entry.submitted`, as the consumer gets it. */
export interface EntryMessage {
  readonly id: string;
  readonly data: { readonly campaignId: string; readonly sealed: string };
}

export interface QueuedIntakeOptions {
  readonly queue: EntryQueue;
  readonly ledger: AdmissionLedger;
  readonly vault: Vault;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** Told of every batch that came back, in the same turn in which its members stop being pending. */
  readonly onAnswers: (
    campaignId: string,
    commands: readonly AdmissionCommand[],
    answers: readonly AdmissionAnswer[],
    ms: number,
  ) => void;
}

const sealedFor = 'entry on the bus';
const largestBatch = 512;
/** Paused or not open by the ledger's clock: the entry waits in the queue. */
const notYetMs = 1_000;
const firstRetryMs = 50;
const longestRetryMs = 2_000;
const mostRefusals = 50_000;
const strangersEveryMs = 1_000;

interface Opened {
  readonly at: number;
  readonly command: AdmissionCommand;
}

export class QueuedIntake {
  readonly #options: QueuedIntakeOptions;
  /** Marks the messages of this process: what goes before the first dot of `sealed`. */
  readonly #own: string;
  /** Keys `<campaign> <member>` of entries that this process published and that are not settled. */
  readonly #pending = new Set<string>();
  #refusals = new Map<string, AdmissionAnswer>();
  /** How many entries of earlier processes may still be in the queue; not counted yet: infinitely many. */
  #strangers = Number.POSITIVE_INFINITY;
  /** Ids of those that are settled: a message may be handed out, and settled, twice. */
  #settledStrangers = new Set<string>();
  /** Publications whose confirm is not back, by key: until then nobody may be told `pending`. */
  readonly #publishing = new Map<string, Promise<void>>();
  #idle: (() => void)[] = [];
  readonly #stop = new AbortController();

  constructor(options: QueuedIntakeOptions) {
    this.#options = options;
    this.#own = `${Buffer.from(options.randomness.bytes(8)).toString('hex')}.`;
  }

  isPending(campaignId: string, memberKey: MemberKey): boolean {
    return this.recovering || this.#pending.has(keyOf(campaignId, memberKey));
  }

  /** What the member's last entry met, as far as it is remembered. */
  lastRefusal(campaignId: string, memberKey: MemberKey): AdmissionAnswer | null {
    return this.#refusals.get(keyOf(campaignId, memberKey)) ?? null;
  }

  /** Resolves when the entry is durably in the queue; at once when one of this member already is. A second copy waits for the first one's confirm. */
  submit(campaignId: string, command: AdmissionCommand): Promise<void> {
    const key = keyOf(campaignId, command.memberKey);
    const underWay = this.#publishing.get(key);
    if (underWay) return underWay;
    if (this.#pending.has(key)) return Promise.resolve();
    const publication = this.#publish(key, campaignId, command).finally(() => {
      this.#publishing.delete(key);
      if (this.#publishing.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
    });
    this.#publishing.set(key, publication);
    return publication;
  }

  async #publish(key: string, campaignId: string, command: AdmissionCommand): Promise<void> {
    this.#pending.add(key);
    this.#refusals.delete(key);
    try {
      await this.#options.queue.publish({ campaignId, sealed: this.#seal(command) });
    } catch (cause) {
      this.#pending.delete(key);
      throw new OperationalError('LEDGER_BUSY', { detail: 'The queue takes no entries now.', cause });
    }
  }

  /** The consumer: decides a batch of messages in their order. Throws on a bug only: then the queue hands them out again, and parks them in the end. */
  async handle(messages: readonly EntryMessage[]): Promise<Outcome[]> {
    const outcomes = new Array<Outcome>(messages.length);
    const byCampaign = new Map<string, Opened[]>();
    messages.forEach((message, at) => {
      const command = this.#open(message);
      if (!command) {
        outcomes[at] = deadLetter('the entry cannot be opened: it was sealed with other secrets, or altered');
        return;
      }
      const group = byCampaign.get(message.data.campaignId);
      if (group) group.push({ at, command });
      else byCampaign.set(message.data.campaignId, [{ at, command }]);
    });
    for (const [campaignId, group] of byCampaign) {
      for (let from = 0; from < group.length; from += largestBatch)
        await this.#decide(campaignId, group.slice(from, from + largestBatch), outcomes);
    }
    if (this.recovering) this.#countStrangers(messages, outcomes);
    return outcomes;
  }

  /** Counts what earlier processes left in the queue, then begins to consume. Call once, before the first entry is taken. */
  async start(): Promise<void> {
    this.#strangers = await this.#options.queue.backlog();
    await this.#options.queue.consume((messages) => this.handle(messages));
    void this.#lookForStrangers();
  }

  /** What the queue itself parks (another version, not readable) never comes to `handle`: an empty queue holds no stranger either. */
  async #lookForStrangers(): Promise<void> {
    const { queue, clock } = this.#options;
    while (this.recovering) {
      await pause(clock, strangersEveryMs, this.#stop.signal);
      if (this.#stop.signal.aborted) return;
      // A queue that does not answer now is asked again.
      const left = await queue.backlog().catch(() => Number.POSITIVE_INFINITY);
      if (left === 0) this.#strangers = 0;
    }
    this.#settledStrangers = new Set();
  }

  /** True while entries of an earlier process may be in the queue. */
  get recovering(): boolean {
    return this.#strangers > 0;
  }

  pendingCount(): number {
    return this.#pending.size;
  }

  /** Waits for publishes under way; a batch that waits for the ledger is given back to the queue. */
  async drain(): Promise<void> {
    this.#stop.abort();
    if (this.#publishing.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #countStrangers(messages: readonly EntryMessage[], outcomes: readonly Outcome[]): void {
    for (let i = 0; i < messages.length; i += 1) {
      const { id, data } = messages[i]!;
      const settled = outcomes[i]!.kind === 'ack' || outcomes[i]!.kind === 'deadLetter';
      if (settled && !data.sealed.startsWith(this.#own) && !this.#settledStrangers.has(id)) {
        this.#settledStrangers.add(id);
        this.#strangers -= 1;
      }
    }
    if (!this.recovering) this.#settledStrangers = new Set();
  }

  async #decide(campaignId: string, group: readonly Opened[], outcomes: Outcome[]): Promise<void> {
    const commands = group.map((opened) => opened.command);
    const sentAt = this.#options.clock.monotonic();
    const answers = await this.#admit(campaignId, commands);
    if (typeof answers === 'string') {
      for (const { at, command } of group) {
        if (answers === 'unknown') this.#pending.delete(keyOf(campaignId, command.memberKey));
        outcomes[at] =
          answers === 'unknown'
            ? deadLetter('there is no campaign of this id')
            : snooze(answers === 'stopping' ? 0 : longestRetryMs);
      }
      return;
    }
    for (let i = 0; i < group.length; i += 1)
      outcomes[group[i]!.at] = this.#settle(campaignId, commands[i]!, answers[i]!);
    this.#options.onAnswers(campaignId, commands, answers, this.#options.clock.monotonic() - sentAt);
  }

  /** Waits in place while the ledger is out of reach, so that the queue keeps its order; a word when it cannot go on. */
  async #admit(
    campaignId: string,
    commands: readonly AdmissionCommand[],
  ): Promise<readonly AdmissionAnswer[] | 'unknown' | 'refused' | 'stopping'> {
    const { ledger, clock } = this.#options;
    for (
      let waitMs = firstRetryMs;
      !this.#stop.signal.aborted;
      waitMs = Math.min(waitMs * 2, longestRetryMs)
    ) {
      try {
        return await ledger.admit(campaignId, commands);
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        if (error.code === 'CAMPAIGN_UNKNOWN') return 'unknown';
        // A person has to act (a halted lane): what was acknowledged waits in the queue, it is not given up.
        if (!error.retryable) return 'refused';
        await pause(clock, error.retryAfterMs ?? waitMs, this.#stop.signal);
      }
    }
    return 'stopping';
  }

  #settle(campaignId: string, { memberKey }: AdmissionCommand, answer: AdmissionAnswer): Outcome {
    const { verdict } = answer.decision;
    if (verdict === 'paused' || verdict === 'not-open') return snooze(notYetMs);
    const key = keyOf(campaignId, memberKey);
    this.#pending.delete(key);
    if (verdict !== 'won' && verdict !== 'waitlisted') {
      if (this.#refusals.size >= mostRefusals) this.#refusals = new Map();
      this.#refusals.set(key, answer);
    }
    return ack();
  }

  #seal({ memberKey, salt, answers, screenedOut }: AdmissionCommand): string {
    const sealed = this.#options.vault.seal(
      salt,
      sealedFor,
      JSON.stringify({ memberKey, answers, screenedOut }),
    );
    return `${this.#own}${salt}.${Buffer.from(sealed).toString('base64url')}`;
  }

  #open({ data }: EntryMessage): AdmissionCommand | null {
    const [, salt = '', sealed = ''] = data.sealed.split('.');
    try {
      const text = this.#options.vault.open(salt, sealedFor, Buffer.from(sealed, 'base64url'));
      const { memberKey, answers, screenedOut } = JSON.parse(text) as Omit<AdmissionCommand, 'salt'>;
      return { memberKey, salt, answers, screenedOut };
    } catch {
      return null;
    }
  }
}

const keyOf = (campaignId: string, memberKey: MemberKey): string => `${campaignId} ${memberKey}`;
