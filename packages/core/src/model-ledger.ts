/**
 * A ledger in memory, by the book: the smallest thing that stores what `admit` and `decideLane` return the way a real ledger must.
 * For tests and simulations to compare a real ledger with. It is no ledger: nothing in it is durable.
 *
 * It keeps its own tables (entries, units) from the decisions and outcomes, not from the fold of the records, so that
 * `checkInvariants` compares two accounts of one history.
 */
import type { Decision, EntryCommand, KnownEntry, MemberKey } from './admit.ts';
import { admit } from './admit.ts';
import type { ExportedBatch } from './chain.ts';
import type { Sha256 } from './hash.ts';
import type { EntrySnapshot, LedgerSnapshot, UnitSnapshot } from './invariants/snapshot.ts';
import type { CampaignTerms, LaneState } from './lane.ts';
import type { LaneCommand, LaneRejection } from './lane-commands.ts';
import { decideLane, publishLane } from './lane-commands.ts';
import type { Receipt } from './receipt.ts';
import { buildReceipt, genesisHead, sealBatch, signedHeadMessage } from './receipt.ts';
import type { Digest, EpochMs, LaneRecord } from './record.ts';
import { encodeRecord } from './record-codec.ts';

/** What an operator asks: unit, waiting and who is promoted are looked up, as in a real ledger. */
export type ModelCommand =
  | { readonly command: 'tick' | 'pause' | 'resume' | 'close' }
  | { readonly command: 'change-stock'; readonly capacity: number; readonly safetyStock: number }
  | { readonly command: 'revoke'; readonly seq: number; readonly unitShown: boolean }
  | { readonly command: 'promote'; readonly seq: number }
  | { readonly command: 'replace'; readonly seq: number }
  | { readonly command: 'restore'; readonly epoch: number };

export interface ModelSigner {
  readonly sha256: Sha256;
  readonly kid: string;
  /** base64url Ed25519. */
  readonly sign: (message: Uint8Array) => string;
}

export interface ModelLedger {
  readonly lane: LaneState;
  /** All records, in order. */
  readonly records: readonly LaneRecord[];
  admit(commands: readonly EntryCommand[], now: EpochMs): readonly Decision[];
  /** The rejection, or null. `entry-gone`: the entry neither holds a unit nor waits as the command needs. */
  command(command: ModelCommand, now: EpochMs): LaneRejection | { readonly code: 'entry-gone' } | null;
  snapshot(): LedgerSnapshot;
  /** Of every record, in order. */
  receipts(): Receipt[];
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Publishes a lane and keeps it. */
export function createModelLedger(
  campaign: string,
  terms: CampaignTerms,
  definition: Digest,
  now: EpochMs,
  signer: ModelSigner,
): ModelLedger {
  const published = publishLane(campaign, 0, terms, definition, now);
  const records: LaneRecord[] = [];
  const batches: ExportedBatch[] = [];
  const receipts: Receipt[] = [];
  const entries = new Map<number, Writable<EntrySnapshot>>();
  const known = new Map<MemberKey, KnownEntry>();
  const units = new Map<number, Writable<UnitSnapshot>>();
  let lane = published.lane;
  store(published.lane, published.records, now);

  /** One durable batch: the new lane, its records, their head. */
  function store(after: LaneState, added: readonly LaneRecord[], at: EpochMs): void {
    lane = after;
    if (added.length === 0) return;
    const texts = added.map(encodeRecord);
    const prevHead = batches.at(-1)?.head.head ?? genesisHead;
    const place = {
      campaign,
      lane: 0,
      epoch: lane.epoch,
      prevHead,
      firstRecordNo: records.length + 1,
      time: at,
    };
    const { head, paths } = sealBatch(place, texts, signer.sha256);
    const signature = signer.sign(signedHeadMessage(head));
    batches.push({ head, records: texts, kid: signer.kid, signature });
    texts.forEach((text, i) => {
      receipts.push(buildReceipt(head, text, paths[i] as readonly Digest[], signer.kid, signature));
    });
    records.push(...added);
  }

  function grant(seq: number, unit: number): void {
    units.set(unit, { campaign, lane: 0, unit, state: 'issued', seq });
  }

  /** What the ledger looks up for a command; null when the entry is not in a state for it. */
  function laneCommandOf(asked: ModelCommand): LaneCommand | null {
    const waitingSeqs = [...entries.values()]
      .filter((entry) => entry.status === 'waiting')
      .map((entry) => entry.seq);
    if (asked.command === 'change-stock') return { ...asked, waitingSeqs };
    if (asked.command === 'revoke') return revocationOf(asked, waitingSeqs);
    if (asked.command !== 'promote' && asked.command !== 'replace') return asked;
    const { command, seq } = asked;
    const entry = entries.get(seq);
    if (command === 'promote') {
      return entry === undefined || entry.status === 'waiting' ? { command, seq } : null;
    }
    const unit = entry === undefined ? 1 : entry.unit;
    return unit === null ? null : { command, seq, unit };
  }

  function revocationOf(
    { command, seq, unitShown }: Extract<ModelCommand, { command: 'revoke' }>,
    waitingSeqs: readonly number[],
  ): LaneCommand | null {
    const entry = entries.get(seq);
    if (entry?.status === 'revoked') return null;
    const waiting = entry?.status === 'waiting';
    const others = waitingSeqs.filter((other) => other !== seq);
    return { command, seq, unitShown, unit: entry?.unit ?? null, waiting, waitingSeqs: others };
  }

  /** The tables after an operator's records. */
  function tabulate(record: LaneRecord): void {
    if (record.type !== 'REVOKED' && record.type !== 'PROMOTED' && record.type !== 'REPLACED') return;
    const entry = entries.get(record.seq) as Writable<EntrySnapshot>;
    if (record.type === 'REVOKED') {
      entry.status = 'revoked';
      entry.unit = null;
      const row = record.unit === null ? undefined : units.get(record.unit);
      if (row !== undefined && record.unitBecomes !== null) row.state = record.unitBecomes;
      return;
    }
    const unit = record.type === 'PROMOTED' ? record.unit : record.newUnit;
    if (record.type === 'REPLACED') (units.get(record.unit) as Writable<UnitSnapshot>).state = 'void';
    entry.status = 'granted';
    entry.unit = unit;
    grant(record.seq, unit);
  }

  return {
    get lane() {
      return lane;
    },
    records,
    admit(commands, at) {
      const result = admit(lane, known, commands, at);
      store(result.lane, result.records, at);
      commands.forEach(({ memberKey }, i) => {
        const decision = result.decisions[i] as Decision;
        if ((decision.verdict !== 'won' && decision.verdict !== 'waitlisted') || decision.repeated) return;
        const { seq, recordNo, verdict, unit } = decision;
        known.set(memberKey, { seq, recordNo, verdict, unit });
        const status = unit === null ? 'waiting' : 'granted';
        entries.set(seq, {
          campaign,
          lane: 0,
          seq,
          recordNo,
          memberKey,
          verdict,
          firstUnit: unit,
          status,
          unit,
        });
        if (unit !== null) grant(seq, unit);
      });
      return result.decisions;
    },
    command(asked, at) {
      const command = laneCommandOf(asked);
      if (command === null) return { code: 'entry-gone' };
      const outcome = decideLane(lane, command, at);
      if (!outcome.ok) return outcome.rejection;
      store(outcome.lane, outcome.records, at);
      outcome.records.forEach(tabulate);
      return null;
    },
    snapshot: () => ({
      lanes: [lane],
      entries: [...entries.values()].map((entry) => ({ ...entry })),
      units: [...units.values()].map((unit) => ({ ...unit })),
      deliveries: [],
      vouchers: [],
      batches: batches.slice(),
    }),
    receipts: () => receipts.slice(),
  };
}
