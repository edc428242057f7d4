/**
 * The ledger: the one authority over lanes, entries, units, deliveries and outbox. A port: `ledgers/sqlite/` implements it today,
 * `ledgers/postgres/` will. Every method is one durable transaction of its own, or a read; what a write returned is on the disk.
 *
 * Grouped by who calls it. Operational failures are thrown from the catalogue in `errors.ts`; expected refusals are values.
 */
import type {
  CampaignState,
  Checkpoint,
  Decision,
  Digest,
  EpochMs,
  LaneRejection,
  LaneState,
  MemberAttributes,
  MemberKey,
  Receipt,
  SurveyAnswers,
} from '@doorbuster/core';
import type { OutboxSource } from '@doorbuster/messaging';
import type { CampaignDefinition } from './campaign/definition.ts';

/** Who did it, for the audit record that is stored in the same transaction as the change. */
export interface Actor {
  readonly kind: 'api-key' | 'cli' | 'system' | 'member';
  /** Key id, operating system user, job name or member key. Never a secret. */
  readonly id: string;
  readonly requestId?: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Opaque cursor of the next page; null on the last. */
  readonly next: string | null;
}
export interface PageRequest {
  /** 1..200 */
  readonly limit: number;
  readonly after?: string;
}

export type Refused<Code extends string> = {
  readonly ok: false;
  readonly code: Code;
  readonly detail?: string;
};
export type Done<T> = { readonly ok: true; readonly value: T };

// --- campaigns -------------------------------------------------------------------------------------------------------------------

export interface Campaign {
  readonly id: string;
  readonly state: CampaignState;
  /** Rises with every change of the definition or state; the ETag of the API. */
  readonly version: number;
  readonly definition: CampaignDefinition;
  readonly createdAt: EpochMs;
  readonly updatedAt: EpochMs;
  readonly publishedAt: EpochMs | null;
  /** Null while draft. */
  readonly lane: LaneState | null;
  readonly memberCount: number;
  readonly voucherCodeCount: number;
}

export interface CampaignLedger {
  /** `id-taken` when a campaign of this id exists. */
  create(
    id: string,
    definition: CampaignDefinition,
    actor: Actor,
  ): Promise<Done<Campaign> | Refused<'id-taken'>>;
  /**
   * Replaces the definition. Once published only the fields that do not change the promise may differ (title, texts, page, endsAt later,
   * messengers): the caller checks which; the ledger checks version and state.
   */
  update(
    id: string,
    definition: CampaignDefinition,
    expectedVersion: number,
    actor: Actor,
  ): Promise<Done<Campaign> | Refused<'unknown' | 'version-changed' | 'closed'>>;
  get(id: string): Promise<Campaign | null>;
  list(page: PageRequest & { readonly state?: CampaignState }): Promise<Page<Campaign>>;
  /**
   * Draft -> scheduled: makes the lane with its PUBLISHED record. The pre-flight is the caller's: with the campaign that it looked at, a campaign that was changed
   * since, or has fewer members or codes, is refused.
   */
  publish(
    id: string,
    actor: Actor,
    lookedAt?: Pick<Campaign, 'version' | 'memberCount' | 'voucherCodeCount'>,
  ): Promise<Done<Campaign> | Refused<'unknown' | 'already-published' | 'version-changed'>>;
  /**
   * Runs a command of the lane (pause, resume, close, change-stock, revoke, promote, replace) and everything that follows from it in
   * the same transaction: records, units, deliveries cancelled or created, promotions from the waitlist, outbox. For revoke and replace the ledger itself finds unit, shown and waiting.
   */
  command(
    id: string,
    command: OperatorLaneCommand,
    actor: Actor,
  ): Promise<
    | Done<Campaign>
    | Refused<'unknown' | 'not-published' | 'unknown-entry'>
    | { readonly ok: false; readonly code: 'rejected'; readonly rejection: LaneRejection }
  >;
  /** What `command` would answer now, with the campaign as it would be. Writes nothing; what really comes may differ, if anything happens before it. */
  foresee(id: string, command: OperatorLaneCommand): ReturnType<CampaignLedger['command']>;
  /** Opens and closes what is due by the authority's clock; returns the time of the next due change, null when there is none. */
  tick(): Promise<EpochMs | null>;
  /** Called after every commit that changed a lane, with its new state, in commit order. Returns the unsubscribe function. */
  onLane(listener: (lane: LaneState) => void): () => void;
}

/**
 * What an operator may ask of a lane. Entries are named by seq; unit, voucher state and who waits are looked up in the transaction.
 * `promote` gives a free unit to the longest waiting entry (only needed on a closed lane: an open one promotes by itself).
 */
export type OperatorLaneCommand =
  | { readonly type: 'pause' | 'resume' | 'close' | 'promote' }
  /** The new values, not the differences. */
  | { readonly type: 'change-stock'; readonly capacity: number; readonly safetyStock: number }
  | { readonly type: 'revoke' | 'replace'; readonly seq: number };

// --- admission -------------------------------------------------------------------------------------------------------------------

export interface AdmissionCommand {
  readonly memberKey: MemberKey;
  /** 32 hex characters, fresh randomness of the caller: seals the answers and hides the member in the record. */
  readonly salt: string;
  readonly answers: SurveyAnswers | null;
  /** The survey's screening said no; the reason is the campaign's. */
  readonly screenedOut: boolean;
}

/** The answer to one command. `receipt` is the JSON text of a core `Receipt`: of the entry, or of the SOLD_OUT or CLOSED record. */
export interface AdmissionAnswer {
  readonly decision: Decision;
  readonly receipt: string | null;
  /** Opens the receipt's commitment; only for the member's own entry. */
  readonly salt: string | null;
  readonly at: EpochMs;
}

export interface AdmissionLedger {
  /**
   * One batch of one campaign, at most 512 commands, decided serially in the writer: two calls may be outstanding at once.
   * Bans, member attributes and known entries are read in the batch's transaction. Answers in the order of the commands.
   * The reason of `ineligible` is a key: `banned`, `not-listed`, `screening`, `rule-<index>`; its text is found by `ineligibleText` (campaign/ineligible-text.ts).
   * A redelivered command of the queued intake is a repeat, because the member is the key: no inbox is needed.
   * Throws LEDGER_BUSY, LEDGER_FULL (nothing decided) and CAMPAIGN_UNKNOWN.
   */
  admit(campaignId: string, commands: readonly AdmissionCommand[]): Promise<readonly AdmissionAnswer[]>;
  /** The member's own entry with its current fate, or null. Throws LEDGER_HALTED where a halted lane shows none. */
  entryOf(campaignId: string, memberKey: MemberKey): Promise<MemberEntry | null>;
  /** True while the lane stands still for a person: then nothing that this process remembers of it may be told. */
  isHalted(campaignId: string): boolean;
  /** Receipt (JSON text) of any record, for SOLD_OUT and CLOSED. */
  receiptOf(campaignId: string, recordNo: number): Promise<string | null>;
  /** All member keys that have an entry, concatenated 16-byte keys a chunk, to rebuild the index of who is in. A chunk is there until the next is asked for. */
  memberKeys(campaignId: string): AsyncIterable<Uint8Array>;
  /** Registers (or refreshes) a member's contact and attributes from a verified token; never removes imported data. */
  register(
    campaignId: string,
    memberKey: MemberKey,
    contact: Contact | null,
    attributes: MemberAttributes | null,
  ): Promise<void>;
  setBan(campaignId: string, memberKey: MemberKey, banned: boolean, actor: Actor): Promise<void>;
}

/** Where a member is reached. At least one is present. */
export interface Contact {
  readonly email?: string;
  readonly phone?: string;
  readonly locale?: 'ko' | 'en';
}

export interface MemberEntry {
  readonly seq: number;
  readonly recordNo: number;
  /** The first verdict, for ever. */
  readonly verdict: 'won' | 'waitlisted';
  /** What became of it. */
  readonly status: 'live' | 'promoted' | 'revoked';
  readonly unit: number | null;
  readonly at: EpochMs;
  readonly receipt: string;
  readonly salt: string | null;
  readonly maskedContact: string | null;
  readonly delivery: {
    readonly deliveryId: string;
    readonly state: DeliveryState;
    readonly voucherReady: boolean;
  } | null;
}

// --- deliveries ------------------------------------------------------------------------------------------------------------------

/**
 *   due --claim--> sending --settle--> delivered | due (retry after waitMs) | unknown (learn after waitMs) | parked
 *   unknown --claim--> sending          parked --operator retry--> due          due|unknown|parked --revoke--> cancelled
 * A lease that ended makes `sending` claimable again with fence + 1.
 */
export type DeliveryState = 'due' | 'sending' | 'unknown' | 'delivered' | 'parked' | 'cancelled';
/** none -> requested -> issued; requested -> unknown -> issued | none (generation + 1 after a confirmed cancel). */
export type VoucherState = 'none' | 'requested' | 'unknown' | 'issued' | 'cancelled';
/** `unknown`: a sending whose outcome was never learnt; at most one more sending of the same voucher follows. */
export type MessageState = 'none' | 'sending' | 'unknown' | 'sent';

/** What is given. `code` is secret: sealed at rest, never logged. */
export interface Voucher {
  readonly code: string;
  readonly pin?: string;
  readonly url?: string;
  readonly validUntil?: string;
}

export interface ClaimedDelivery {
  /** `<campaignId>.<seq>.<unit>` */
  readonly deliveryId: string;
  readonly campaignId: string;
  readonly seq: number;
  readonly unit: number;
  readonly memberKey: MemberKey;
  readonly generation: number;
  readonly fence: number;
  readonly leaseUntil: EpochMs;
  /** Claims so far, this one included; counted in the ledger. */
  readonly attempts: number;
  readonly voucherState: VoucherState;
  /** How long ago the unanswered voucher request went out, on the authority's clock, at the time of the claim. ms */
  readonly voucherRequestedMsAgo: number | null;
  readonly voucher: Voucher | null;
  /** The imported code of its unit, where the campaign's source is the pool and the unit has no voucher yet: spares a question. */
  readonly poolCode: Voucher | null;
  readonly messageState: MessageState;
  /** How often the message was handed to a messenger with an unknown result. */
  readonly unknownSendings: number;
  /** Index into the campaign's messengers. */
  readonly messengerIndex: number;
  readonly contact: Contact | null;
  readonly definition: CampaignDefinition;
}

export type DeliveryStep =
  | { readonly step: 'voucher-requested' }
  | { readonly step: 'voucher-issued'; readonly voucher: Voucher }
  /** The provider confirmed that the transaction id is dead: generation + 1, voucher none. */
  | { readonly step: 'voucher-cancelled' }
  /** Marks the voucher as shown, durably, before a messenger may carry it. `issued`: the voucher itself, when it is recorded only now. */
  | { readonly step: 'message-sending'; readonly messenger: string; readonly issued?: Voucher };

export type DeliveryResult =
  | { readonly result: 'delivered'; readonly messenger: string }
  | {
      readonly result: 'retry';
      /** From now, on the authority's clock: a wall clock that was stepped must not hold a delivery back. ms */
      readonly waitMs: number;
      readonly errorCode: string;
      readonly error: string;
      readonly messengerIndex?: number;
    }
  | {
      readonly result: 'voucher-unknown';
      readonly waitMs: number;
      readonly errorCode: string;
      readonly error: string;
    }
  | {
      readonly result: 'message-unknown';
      readonly waitMs: number;
      readonly errorCode: string;
      readonly error: string;
    }
  | { readonly result: 'parked'; readonly errorCode: string; readonly error: string };

export interface DeliveryView {
  readonly deliveryId: string;
  readonly seq: number;
  readonly unit: number;
  readonly state: DeliveryState;
  readonly voucherState: VoucherState;
  readonly messageState: MessageState;
  readonly attempts: number;
  readonly dueAt: EpochMs | null;
  readonly errorCode: string | null;
  readonly error: string | null;
  readonly messenger: string | null;
  readonly deliveredAt: EpochMs | null;
  /** The unit was taken back from this entry (revoked, or replaced by another): what was delivered is void, what was not is cancelled. */
  readonly takenBack: boolean;
  readonly createdAt: EpochMs;
}
export interface DeliveryAttempt {
  readonly attempt: number;
  readonly fence: number;
  readonly startedAt: EpochMs;
  readonly endedAt: EpochMs | null;
  readonly outcome: string | null;
  readonly errorCode: string | null;
  readonly error: string | null;
}
export interface DeliveryFilter {
  readonly state?: DeliveryState;
  readonly errorCode?: string;
  readonly seq?: number;
}

export interface DuePage {
  readonly deliveryIds: readonly string[];
  /** Where to go on, now or when more has become due. */
  readonly next: string | undefined;
  /** The page is full: there may be more already. */
  readonly more: boolean;
  /** Earliest time after this look at which another one becomes claimable; null when nothing else waits, or when there may be more already. */
  readonly nextDueAt: EpochMs | null;
}

export interface DeliveryLedger {
  /** Deliveries that may be claimed now (due, unknown, or a lease that ended), oldest first, from `after` on; a page costs what it holds. */
  due(limit: number, after?: string): Promise<DuePage>;
  /** Compare-and-set to `sending` with fence + 1 and a lease on the authority's clock. Null: not claimable (taken, done, cancelled). Reclaiming an ended lease turns `requested` into voucher `unknown` and `sending` into message `unknown`. */
  claim(deliveryId: string, leaseMs: number): Promise<ClaimedDelivery | null>;
  /** CAS on the fence: false when the claim is no longer ours; then the caller stops at once. */
  progress(deliveryId: string, fence: number, step: DeliveryStep): Promise<boolean>;
  settle(deliveryId: string, fence: number, result: DeliveryResult): Promise<boolean>;
  list(campaignId: string, filter: DeliveryFilter, page: PageRequest): Promise<Page<DeliveryView>>;
  /** Counts by state and by error code. */
  summary(campaignId: string): Promise<{
    readonly byState: Readonly<Record<DeliveryState, number>>;
    readonly byError: readonly { readonly errorCode: string; readonly count: number }[];
  }>;
  attempts(deliveryId: string): Promise<readonly DeliveryAttempt[] | null>;
  /** Operator retry by filter (parked and unknown -> due now; `resend` also delivered -> due, same voucher): one durable, resumable batch. */
  startBatch(
    campaignId: string,
    filter: DeliveryFilter,
    resend: boolean,
    actor: Actor,
  ): Promise<DeliveryBatch>;
  batch(batchId: string): Promise<DeliveryBatch | null>;
  abortBatch(batchId: string, actor: Actor): Promise<DeliveryBatch | null>;
  /** Moves the next slice of running batches; returns how many deliveries it moved. */
  runBatches(slice: number): Promise<number>;
  /** The voucher for its owner, marked as shown durably before it is returned; null when it is not ready. */
  reveal(campaignId: string, memberKey: MemberKey): Promise<Voucher | null>;
  /** Code of a unit from the imported pool; null when the pool has none. */
  poolCode(campaignId: string, unit: number): Promise<Voucher | null>;
}

/** What the double check reads, and its one repair. Counts are of everything, samples name the first few. */
export interface ReconcileLedger {
  /**
   * One look at deliveries and outbox. `overdueSince`: what has been claimable since before then counts as overdue. `thorough` reads all grants,
   * units and deliveries, too: its time grows with their number, so it is for now and then.
   */
  look(overdueSince: EpochMs, thorough: boolean): Promise<readonly ReconcileFinding[]>;
  /** Blind indexes of issued codes of a campaign, units in order, at most `limit`; empty at the end. */
  issuedCodes(
    campaignId: string,
    afterUnit: number,
    limit: number,
  ): Promise<readonly { readonly unit: number; readonly blind: string }[]>;
  /** Campaigns with issued vouchers and how many. */
  issuedCounts(): Promise<readonly { readonly campaignId: string; readonly issued: number }[]>;
  /** Members of a campaign with a contact, imported or from a token. Reads them all: for the check before publication. */
  contactCount(campaignId: string): Promise<number>;
  /** Rings again for overdue deliveries, the oldest first; returns how many doorbells were appended. */
  ringAgain(overdueSince: EpochMs, limit: number): Promise<number>;
}
export interface ReconcileFinding {
  readonly code:
    | 'grant-without-delivery'
    | 'delivery-overdue'
    | 'lease-ended'
    | 'delivered-without-voucher'
    | 'grant-without-code'
    | 'parked'
    | 'outbox-backlog';
  /** Null: of the whole ledger. */
  readonly campaignId: string | null;
  readonly count: number;
  /** Ids of deliveries, at most ten. */
  readonly sample: readonly string[];
}

export interface DeliveryBatch {
  readonly batchId: string;
  readonly campaignId: string;
  readonly filter: DeliveryFilter;
  readonly resend: boolean;
  readonly state: 'running' | 'done' | 'aborted';
  readonly total: number;
  readonly moved: number;
  readonly createdAt: EpochMs;
}

// --- imports ---------------------------------------------------------------------------------------------------------------------

export type ImportKind = 'members' | 'voucher-codes';
export interface MemberRow {
  readonly memberKey: MemberKey;
  readonly contact: Contact | null;
  readonly attributes: MemberAttributes;
}
export interface VoucherRow extends Voucher {
  /** Line of the source, for the report. */
  readonly line: number;
}
export interface ImportLedger {
  /** Rows go to a staging area nobody reads. `replace` is refused for codes once the campaign is published. */
  begin(
    campaignId: string,
    kind: ImportKind,
    mode: 'append' | 'replace',
    actor: Actor,
  ): Promise<Done<string> | Refused<'unknown' | 'closed' | 'published'>>;
  /** At most 1,000 rows a call. Returns the lines refused because the same code (blind index) is already there. */
  members(importId: string, rows: readonly MemberRow[]): Promise<void>;
  voucherCodes(importId: string, rows: readonly VoucherRow[]): Promise<readonly number[]>;
  /**
   * Switches the staged rows in at once: a reader sees all of them or none. Refused when the campaign went on while codes were staged: it was published (`replace`), or its
   * codes were replaced (`append`).
   */
  commit(
    importId: string,
  ): Promise<{ readonly rows: number; readonly total: number } | Refused<'published' | 'replaced'>>;
  abort(importId: string): Promise<void>;
}

// --- evidence, access ------------------------------------------------------------------------------------------------------------

export interface EntryView {
  readonly seq: number;
  readonly recordNo: number;
  readonly verdict: 'won' | 'waitlisted';
  readonly status: 'live' | 'promoted' | 'revoked';
  readonly unit: number | null;
  readonly at: EpochMs;
  /** Null after erasure. */
  readonly answers: SurveyAnswers | null;
  readonly erased: boolean;
}
/** One durable batch with its records, as exported: `records` are the encoded record texts. */
export interface RecordBatch {
  readonly batchNo: number;
  readonly epoch: number;
  readonly firstRecordNo: number;
  readonly count: number;
  readonly prevHead: string;
  readonly root: string;
  readonly head: string;
  readonly time: EpochMs;
  readonly kid: string | null;
  readonly signature: string | null;
  readonly records: readonly string[];
}
export interface AuditRecord {
  readonly auditNo: number;
  readonly at: EpochMs;
  readonly actor: Actor;
  readonly action: string;
  readonly target: string;
  readonly detail: Readonly<Record<string, unknown>>;
}
export interface EvidenceLedger {
  entries(
    campaignId: string,
    filter: { readonly verdict?: 'won' | 'waitlisted'; readonly status?: 'live' | 'promoted' | 'revoked' },
    page: PageRequest,
  ): Promise<Page<EntryView>>;
  /** All entries in order, decrypted, a chunk at a time, read from one snapshot. */
  allEntries(campaignId: string): AsyncIterable<readonly EntryView[]>;
  records(campaignId: string, fromRecordNo: number): AsyncIterable<RecordBatch>;
  auditRecords(filter: { readonly campaignId?: string }, page: PageRequest): Promise<Page<AuditRecord>>;
  /** The latest head, signed; at most one second old. Null for a draft or an unknown campaign. */
  checkpoint(campaignId: string): Promise<Checkpoint | null>;
  /** The Merkle root over all records of a closed campaign; null before. */
  closingRoot(campaignId: string): Promise<{ readonly records: number; readonly root: Digest } | null>;
  /** Removes contact, attributes, answers and salt of a member, in one campaign; entries and records stay. False: not known there. */
  erase(campaignId: string, memberKey: MemberKey, actor: Actor): Promise<boolean>;
  /** Whether `erase` would find anything of this member. */
  holds(campaignId: string, memberKey: MemberKey): Promise<boolean>;
  /** Retention: erases personal data of campaigns closed before the given time, a slice a call; returns members erased. */
  expire(closedBefore: EpochMs, slice: number): Promise<number>;
}

export interface ApiKey {
  readonly keyId: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly createdAt: EpochMs;
  readonly lastUsedAt: EpochMs | null;
  readonly expiresAt: EpochMs | null;
  readonly revokedAt: EpochMs | null;
}
export interface AccessLedger {
  /** `secretHash`: SHA-256 hex of the secret part; the secret itself is never stored. */
  createApiKey(
    key: {
      readonly keyId: string;
      readonly name: string;
      readonly scopes: readonly string[];
      readonly secretHash: string;
      readonly expiresAt: EpochMs | null;
    },
    actor: Actor,
  ): Promise<ApiKey>;
  listApiKeys(): Promise<readonly ApiKey[]>;
  /** New secret; the old one is valid until `graceUntil`. */
  rotateApiKey(keyId: string, secretHash: string, graceUntil: EpochMs, actor: Actor): Promise<ApiKey | null>;
  revokeApiKey(keyId: string, actor: Actor): Promise<ApiKey | null>;
  /** Notes when a key was last used. The caller asks at most once a minute for each key, so no request waits for it. */
  usedApiKey(keyId: string): Promise<void>;
  /** For authentication: live keys only. */
  findApiKey(keyId: string): Promise<
    | (ApiKey & {
        readonly secretHashes: readonly { readonly hash: string; readonly validUntil: EpochMs | null }[];
      })
    | null
  >;
  /** Idempotency of operator POSTs. Reserve: `fresh`, or what was stored, or `in-progress`, or `mismatch` (same key, another request). */
  reserveRequest(
    scope: string,
    key: string,
    requestHash: string,
  ): Promise<
    | { readonly state: 'fresh' | 'in-progress' | 'mismatch' }
    | {
        readonly state: 'stored';
        readonly status: number;
        readonly body: string;
        readonly location: string | null;
      }
  >;
  storeResponse(
    scope: string,
    key: string,
    status: number,
    body: string,
    location: string | null,
  ): Promise<void>;
  releaseRequest(scope: string, key: string): Promise<void>;
  note(
    actor: Actor,
    action: string,
    target: string,
    detail: Readonly<Record<string, unknown>>,
  ): Promise<void>;
}

export interface Ledger {
  readonly campaigns: CampaignLedger;
  readonly admission: AdmissionLedger;
  readonly deliveries: DeliveryLedger;
  readonly reconcile: ReconcileLedger;
  readonly imports: ImportLedger;
  readonly evidence: EvidenceLedger;
  readonly access: AccessLedger;
  /** Unpublished outbox rows for the relay. Types: `delivery.requested`, `entry.admitted`, `lane.changed` (see `messages.ts`). */
  readonly outbox: OutboxSource;
  /** Rings after a commit that appended to the outbox. */
  onOutbox(listener: () => void): () => void;
  /** Lanes that stand still for a person, because the ledger shows less than was acknowledged. Asked on every poll: from memory. */
  halted(): readonly HaltedLane[];
  /** Invariants, fold of all records and comparison with every table; also the body of `doorbuster verify`. */
  verify(): Promise<VerifyReport>;
  /** A consistent copy of the ledger's file while it runs. */
  backup(path: string): Promise<void>;
  /** Waits for what is under way and closes; later calls throw LEDGER_CLOSED. */
  close(): Promise<void>;
}
export interface HaltedLane {
  readonly campaignId: string;
  /** For the operator, never for the public. */
  readonly reason: string;
}
export function isHalted(ledger: Pick<Ledger, 'halted'>, id: string): boolean {
  return ledger.halted().some(({ campaignId }) => campaignId === id);
}
export interface VerifyReport {
  readonly ok: boolean;
  readonly campaigns: number;
  readonly records: number;
  readonly entries: number;
  readonly batches: number;
  readonly violations: readonly {
    readonly invariant: string;
    readonly campaignId: string | null;
    readonly detail: string;
  }[];
}
export type { Receipt };
