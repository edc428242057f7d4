/**
 * Publishes rows so that no key overtakes itself, and says of each row what became of it.
 *
 * A rejected publish tells that some of its messages failed, not which. So a batch that fails is halved until the row that
 * fails stands alone, and what follows it on its lane is left out from there on. Where an engine may store a part of
 * a batch (RabbitMQ refuses one message and takes the next), that is too late for two rows of one lane in one publish: `strict` therefore
 * publishes at most one row of a lane at a time. Batches of many keys lose nothing by it; a batch of one key is published row by row.
 *
 * A channel that is not declared is refused as a whole: once one of its rows was, the others get the same verdict and the engine is not asked again.
 */
import type { OutgoingMessage, PublishConfirmation } from './engine.ts';
import { describeError, MessagingError, type MessagingErrorCode } from './errors.ts';
import type { OutboxRow } from './outbox.ts';
import { laneOf } from './outbox-store.ts';

export type KeyOrder = 'strict' | 'batched';
export type PoisonPolicy = 'blockKey' | 'skip';

export interface SendRules {
  readonly forward: (messages: readonly OutgoingMessage[]) => Promise<readonly PublishConfirmation[]>;
  readonly keyOrder: KeyOrder;
  readonly onPoison: PoisonPolicy;
  /** Asked for a row whose channel is not declared: whether it is parked, or waits for the channel. Default: parked. */
  readonly parksUndeclared?: (row: OutboxRow) => boolean;
  /** Whether the channel was not declared at the last try: one row of it is tried before the others. Default: none. */
  readonly isDoubtful?: (channel: string) => boolean;
  /** Asked before each publish; false ends the sending, because another relay may be at work. */
  readonly mayGoOn: () => boolean;
}

export interface RowVerdict {
  readonly kind: 'published' | 'waiting' | 'parked';
  readonly reason: string;
}

export interface Sent {
  /** By row number. Rows without a verdict were not tried, or it is unknown whether they arrived: publish them again. */
  readonly verdicts: ReadonlyMap<number, RowVerdict>;
  /** What ended the sending early: the engine is out of order, not a message. */
  readonly stoppedBy: unknown;
}

/**
 * The engine or what guards it is out of order: nothing about one message. Refused credentials and rights belong here though trying again alone helps nothing: what
 * mends them is done at the server, and until then every row would be parked for a person. A channel that is not declared does not: it is known which rows it is
 * about, and the other keys go on.
 */
const ENGINE_WIDE: ReadonlySet<MessagingErrorCode> = new Set([
  'DB_MSG_NOT_STARTED',
  'DB_MSG_STOPPED',
  'DB_MSG_ENGINE_LOCKED',
  'DB_MSG_ENGINE_UNSAFE',
  'DB_MSG_DISK_FULL',
  'DB_MSG_ENGINE_UNREACHABLE',
  'DB_MSG_ENGINE_FULL',
  'DB_MSG_ENGINE_FAILED',
  'DB_MSG_ENGINE_BLOCKED',
  'DB_MSG_ENGINE_REFUSED',
  'DB_MSG_RATE_CAP_FULL',
  'DB_MSG_BULKHEAD_FULL',
  'DB_MSG_BREAKER_OPEN',
]);
/** Rows that may fail alone, one after another, before it is taken for the engine's fault: an unknown error has no code to tell. */
const UNKNOWN_IN_A_ROW = 5;

export async function sendRows(rows: readonly OutboxRow[], rules: SendRules): Promise<Sent> {
  const sending = new Sending(rules);
  for (const row of firstOfDoubtful(rows, rules)) await sending.send([row]);
  for (const wave of wavesOf(rows, rules.keyOrder)) {
    await sending.send(wave);
    if (sending.stoppedBy !== undefined) break;
  }
  return sending;
}

function firstOfDoubtful(rows: readonly OutboxRow[], { isDoubtful }: SendRules): readonly OutboxRow[] {
  const first = new Map<string, OutboxRow>();
  if (!isDoubtful) return [];
  for (const row of rows) if (!first.has(row.channel) && isDoubtful(row.channel)) first.set(row.channel, row);
  return [...first.values()];
}

/** The first row of each lane, then the second of each, and so on. */
function wavesOf(rows: readonly OutboxRow[], keyOrder: KeyOrder): readonly (readonly OutboxRow[])[] {
  if (keyOrder === 'batched') return [rows];
  const seen = new Map<string, number>();
  const waves: OutboxRow[][] = [];
  for (const row of rows) {
    const lane = laneOf(row);
    const wave = seen.get(lane) ?? 0;
    seen.set(lane, wave + 1);
    (waves[wave] ??= []).push(row);
  }
  return waves;
}

class Sending implements Sent {
  readonly verdicts = new Map<number, RowVerdict>();
  stoppedBy: unknown;
  readonly #rules: SendRules;
  readonly #blocked = new Map<string, string>();
  /** What became of the first row of a channel that is not declared. */
  readonly #undeclared = new Map<string, RowVerdict>();
  #unknownInARow = 0;

  constructor(rules: SendRules) {
    this.#rules = rules;
  }

  async send(rows: readonly OutboxRow[]): Promise<void> {
    const free = rows.filter((row) => !this.#isDecided(row));
    if (free.length === 0 || this.stoppedBy !== undefined) return;
    if (!this.#rules.mayGoOn()) {
      this.stoppedBy = new MessagingError('DB_MSG_STOPPED', 'the outbox is no longer owned by this relay');
      return;
    }
    try {
      await this.#rules.forward(free);
      for (const row of free) this.verdicts.set(row.number, { kind: 'published', reason: '' });
      this.#unknownInARow = 0;
    } catch (error) {
      await this.#failed(free, error);
    }
  }

  async #failed(rows: readonly OutboxRow[], error: unknown): Promise<void> {
    if (isEngineWide(error)) {
      this.stoppedBy = error;
      return;
    }
    const [first] = rows;
    if (rows.length > 1 || !first) {
      const middle = Math.ceil(rows.length / 2);
      await this.send(rows.slice(0, middle));
      await this.send(rows.slice(middle));
      return;
    }
    if (!(error instanceof MessagingError) && ++this.#unknownInARow >= UNKNOWN_IN_A_ROW) {
      this.stoppedBy = error;
      return;
    }
    this.#refused(first, error);
  }

  #refused(row: OutboxRow, error: unknown): void {
    const isUndeclared = error instanceof MessagingError && error.code === 'DB_MSG_UNKNOWN_CHANNEL';
    const forGood = isUndeclared
      ? this.#rules.parksUndeclared?.(row) !== false
      : error instanceof MessagingError && !error.retryable;
    const verdict: RowVerdict = { kind: forGood ? 'parked' : 'waiting', reason: describeError(error) };
    if (isUndeclared) this.#undeclared.set(row.channel, verdict);
    this.#judge(row, verdict);
  }

  #judge(row: OutboxRow, verdict: RowVerdict): void {
    this.verdicts.set(row.number, verdict);
    if (verdict.kind === 'parked' && this.#rules.onPoison === 'skip') return;
    this.#blocked.set(laneOf(row), `behind row ${row.number}: ${verdict.reason}`);
  }

  /** True: it has its verdict, and is not tried. */
  #isDecided(row: OutboxRow): boolean {
    if (this.verdicts.has(row.number)) return true;
    const reason = this.#blocked.get(laneOf(row));
    const verdict = this.#undeclared.get(row.channel);
    if (reason !== undefined) this.verdicts.set(row.number, { kind: 'waiting', reason });
    else if (verdict) this.#judge(row, verdict);
    return reason !== undefined || verdict !== undefined;
  }
}

function isEngineWide(error: unknown): boolean {
  return error instanceof MessagingError && ENGINE_WIDE.has(error.code);
}
