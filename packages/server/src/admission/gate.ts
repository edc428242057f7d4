/**
 * The gate of one campaign: what this process knows for certain without asking the ledger. It knows who is in (rebuilt from the ledger, then
 * kept up with every commit), who is under way, and the committed lane. From these it gives the refusals that cost nothing.
 *
 * It may answer for the ledger only where the answer cannot differ: the member is not in and nothing of theirs is under way, and the
 * lane, as last committed, refuses everyone who is new. All of it moves only after a commit has come back. In doubt it is silent.
 */
import type { LaneState, MemberKey } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import type { AdmissionAnswer, AdmissionCommand, AdmissionLedger } from '../ledger.ts';
import { MemberIndex } from './member-index.ts';

/** Before this long ahead of `startsAt` nobody needs to ask the ledger whether the campaign is open; later the ledger's clock decides. */
const certainlyEarlyMs = 1_000;
/** Room for who may come, at most; who is in gets it whole, so that reading them grows nothing. */
const mostForNewcomers = 6_000;

export class Gate {
  readonly campaignId: string;
  readonly #ledger: AdmissionLedger;
  readonly #clock: Clock;
  readonly #index: MemberIndex;
  #complete = false;
  #loading: Promise<void> | null = null;
  #lane: LaneState;
  #notOpen: AdmissionAnswer | null = null;
  /** The refusal of the current SOLD_OUT or CLOSED record, once its receipt is here. */
  #final: { readonly recordNo: number; readonly answer: AdmissionAnswer } | null = null;
  #fetching: number | null = null;

  constructor(campaignId: string, lane: LaneState, ledger: AdmissionLedger, clock: Clock) {
    this.campaignId = campaignId;
    this.#ledger = ledger;
    this.#clock = clock;
    this.#lane = lane;
    const newcomers = Math.min(lane.capacity + lane.waitlistLimit, mostForNewcomers);
    this.#index = new MemberIndex(Math.max(lane.seq, newcomers));
    this.#fetchFinal();
  }

  /** Reads who is in, once; entries committed meanwhile are added by `committed`. Rejects when the ledger is out of reach; call again. */
  load(): Promise<void> {
    this.#loading ??= this.#read().catch((error: unknown) => {
      this.#loading = null;
      throw error;
    });
    return this.#loading;
  }

  get complete(): boolean {
    return this.#complete;
  }

  get lane(): LaneState {
    return this.#lane;
  }

  /** True unless the member is certainly not in. */
  mayBeIn(memberKey: MemberKey): boolean {
    if (this.#complete) return this.#index.has(memberKey);
    // Until it is read the gate is silent and the ledger answers; a reading that failed is begun again here.
    if (this.#loading === null) this.load().catch(() => undefined);
    return true;
  }

  /** The lane as a commit left it. */
  moved(lane: LaneState): void {
    this.#lane = lane;
    this.#fetchFinal();
  }

  /** Answers of a batch that came back from the ledger. */
  committed(commands: readonly AdmissionCommand[], answers: readonly AdmissionAnswer[]): void {
    for (let i = 0; i < answers.length; i += 1) {
      const decision = answers[i]!.decision;
      if (decision.verdict === 'won' || decision.verdict === 'waitlisted')
        this.#index.add(commands[i]!.memberKey);
    }
  }

  /** A batch failed, perhaps after its commit: who was in it is perhaps in, and the ledger is asked. */
  uncertain(commands: readonly AdmissionCommand[]): void {
    for (const { memberKey } of commands) this.#index.add(memberKey);
  }

  /** The refusal for a member who is not in and has nothing under way; null: ask the ledger. */
  refusal(): AdmissionAnswer | null {
    const lane = this.#lane;
    if (lane.phase === 'scheduled')
      return this.#clock.now() < lane.startsAt - certainlyEarlyMs ? this.#early(lane) : null;
    const recordNo = finalRecord(lane);
    if (recordNo === null) return null;
    // An open lane whose end has come is closed by the ledger at the next question.
    if (lane.phase !== 'closed' && lane.endsAt !== null && this.#clock.now() >= lane.endsAt) return null;
    if (this.#final?.recordNo === recordNo) return this.#final.answer;
    this.#fetchFinal();
    return null;
  }

  #early(lane: LaneState): AdmissionAnswer {
    const known = this.#notOpen;
    if (known && 'opensAt' in known.decision && known.decision.opensAt === lane.startsAt) return known;
    this.#notOpen = {
      decision: { verdict: 'not-open', opensAt: lane.startsAt },
      receipt: null,
      salt: null,
      at: this.#clock.now(),
    };
    return this.#notOpen;
  }

  #fetchFinal(): void {
    const lane = this.#lane;
    const recordNo = finalRecord(lane);
    if (recordNo === null || this.#final?.recordNo === recordNo || this.#fetching === recordNo) return;
    const verdict = lane.closedRecordNo === recordNo ? 'closed' : 'sold-out';
    this.#fetching = recordNo;
    this.#ledger.receiptOf(this.campaignId, recordNo).then(
      (receipt) => {
        this.#fetching = null;
        if (!receipt || finalRecord(this.#lane) !== recordNo) return;
        this.#final = {
          recordNo,
          answer: {
            decision: { verdict, recordNo },
            receipt,
            salt: null,
            at: timeOf(receipt) ?? this.#clock.now(),
          },
        };
      },
      () => {
        // Until the receipt is here the ledger answers; the next refusal asks for it again.
        this.#fetching = null;
      },
    );
  }

  async #read(): Promise<void> {
    for await (const chunk of this.#ledger.memberKeys(this.campaignId)) this.#index.addKeys(chunk);
    this.#complete = true;
  }
}

/** The record that everyone who is new is refused with, in core's precedence; null while the lane may still take someone. */
export function finalRecord(lane: LaneState): number | null {
  if (lane.closedRecordNo !== null && lane.closeReason !== 'sold-out') return lane.closedRecordNo;
  return lane.soldOutRecordNo;
}

/** When the record of a receipt was made. */
export function timeOf(receipt: string): number | null {
  const record: unknown = JSON.parse((JSON.parse(receipt) as { record: string }).record);
  const at = (record as { at?: unknown }).at;
  return typeof at === 'number' ? at : null;
}
