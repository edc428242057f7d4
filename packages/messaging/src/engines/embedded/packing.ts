/**
 * How a turn and its reply cross the threads: the bodies of a batch as a few texts, and what most of its messages share once. A structured clone pays for each object
 * and each string; a text of 64 Ki characters costs little more than its copy. What comes out is what went in, so the port (`Writer`) and the store know nothing of it.
 *
 *   publishes that follow each other -> texts, the lengths, a head for each run of rows that differ in nothing but the body
 *   acknowledgements                 -> their tokens; the answer names those that were lost
 *   hand-outs                        -> texts, the lengths, the tokens; state and count only of those that have them. Of what was read ahead the place says it all
 *   bodies that were read ahead      -> texts and their lengths
 *
 * Bodies come out as slices of a text: nothing is copied, and the text stays in memory as long as one of its messages is held.
 */
import type { Settlement, SettleResult } from '../../engine.ts';
import type { HandOut, Operation, OperationResult, PublishRow, Turn, TurnReply } from './turn.ts';

export interface Texts {
  readonly texts: readonly string[];
  /** Of each body, in their order; no body is in two texts. */
  readonly lengths: readonly number[];
}

/** A longer text is a large object for V8, which costs twice as much to receive. */
const CHARACTERS_PER_TEXT = 2 ** 16;

class TextPacker {
  readonly texts: string[] = [];
  readonly lengths: number[] = [];
  #gathered: string[] = [];
  #characters = 0;

  add(body: string): void {
    if (this.#characters + body.length > CHARACTERS_PER_TEXT) this.#close();
    this.#gathered.push(body);
    this.#characters += body.length;
    this.lengths.push(body.length);
  }

  packed(): Texts {
    this.#close();
    return { texts: this.texts, lengths: this.lengths };
  }

  #close(): void {
    if (this.#characters > 0) this.texts.push(this.#gathered.join(''));
    this.#gathered = [];
    this.#characters = 0;
  }
}

class TextReader {
  readonly #packed: Texts;
  #body = 0;
  #text = 0;
  #from = 0;

  constructor(packed: Texts) {
    this.#packed = packed;
  }

  next(): string {
    const { texts, lengths } = this.#packed;
    const length = lengths[this.#body++] as number;
    if (length === 0) return '';
    if (this.#from === texts[this.#text]?.length) {
      this.#text += 1;
      this.#from = 0;
    }
    const from = this.#from;
    this.#from += length;
    return (texts[this.#text] as string).slice(from, this.#from);
  }
}

type PublishOperation = Extract<Operation, { op: 'publish' }>;

interface PackedPublishes extends Texts {
  readonly op: 'publishes';
  /** Rows of each operation. */
  readonly counts: readonly number[];
  readonly heads: readonly (Omit<PublishRow, 'body'> & { readonly rows: number })[];
}

interface PackedAcks {
  readonly op: 'acks';
  readonly consumer: number;
  readonly tokens: readonly number[];
}

type PackedOperation = Exclude<Operation, { op: 'publish' }> | PackedPublishes | PackedAcks;

export interface PackedTurn extends Omit<Turn, 'operations'> {
  readonly operations: readonly PackedOperation[];
}

type Settled = { readonly settled: number; readonly lost: readonly number[] };
/** A number is so many results without a value. */
type PackedResult = number | Settled | OperationResult;

interface PackedHandOut extends Texts {
  readonly consumer: number;
  readonly tokens: readonly number[];
  /** Of each its place among what was read ahead, below 0 where its body is here; empty where all are. */
  readonly places: readonly number[];
  /** Index, state and count of those that were handed out before. */
  readonly tried: readonly (readonly [index: number, state: string | null, abandoned: number])[];
}

export interface PackedReply extends Omit<TurnReply, 'results' | 'handOuts'> {
  readonly results: readonly PackedResult[];
  readonly handOuts: readonly PackedHandOut[];
}

export function packTurn({ operations, ...turn }: Turn): PackedTurn {
  const packed: PackedOperation[] = [];
  for (let at = 0; at < operations.length; ) {
    const operation = operations[at] as Operation;
    if (operation.op !== 'publish') {
      packed.push(packOther(operation));
      at += 1;
      continue;
    }
    const run: PublishOperation[] = [];
    for (; operations[at]?.op === 'publish'; at += 1) run.push(operations[at] as PublishOperation);
    packed.push(packPublishes(run));
  }
  return { ...turn, operations: packed };
}

function packOther(operation: Exclude<Operation, { op: 'publish' }>): PackedOperation {
  if (operation.op !== 'settle' || !operation.settlements.every(isAck)) return operation;
  return {
    op: 'acks',
    consumer: operation.consumer,
    tokens: operation.settlements.map(({ token }) => token as number),
  };
}

const isAck = ({ kind }: Settlement): boolean => kind === 'ack';

function packPublishes(run: readonly PublishOperation[]): PackedPublishes {
  const bodies = new TextPacker();
  const heads: (Omit<PublishRow, 'body'> & { rows: number })[] = [];
  let head: (Omit<PublishRow, 'body'> & { rows: number }) | undefined;
  for (const { rows } of run)
    for (const row of rows) {
      bodies.add(row.body);
      if (head && isLike(head, row)) head.rows += 1;
      else {
        const { channel, level, key, expiresAt, dueAt } = row;
        head = { channel, level, key, expiresAt, dueAt, rows: 1 };
        heads.push(head);
      }
    }
  return { op: 'publishes', ...bodies.packed(), heads, counts: run.map(({ rows }) => rows.length) };
}

function isLike(a: Omit<PublishRow, 'body'>, b: Omit<PublishRow, 'body'>): boolean {
  return (
    a.channel === b.channel &&
    a.level === b.level &&
    a.key === b.key &&
    a.expiresAt === b.expiresAt &&
    a.dueAt === b.dueAt
  );
}

export function unpackTurn({ operations, ...turn }: PackedTurn): Turn {
  const unpacked: Operation[] = [];
  for (const operation of operations) {
    if (operation.op === 'publishes') unpackPublishes(operation, unpacked);
    else if (operation.op === 'acks')
      unpacked.push({
        op: 'settle',
        consumer: operation.consumer,
        settlements: operation.tokens.map((token) => ({ kind: 'ack', token })),
      });
    else unpacked.push(operation);
  }
  return { ...turn, operations: unpacked };
}

function unpackPublishes(packed: PackedPublishes, into: Operation[]): void {
  const { heads, counts } = packed;
  const bodies = new TextReader(packed);
  let head = -1;
  let left = 0;
  for (const count of counts) {
    const rows: PublishRow[] = [];
    for (let n = 0; n < count; n += 1) {
      if (left === 0) left = (heads[++head] as { rows: number }).rows;
      left -= 1;
      const { channel, level, key, expiresAt, dueAt } = heads[head] as Omit<PublishRow, 'body'>;
      rows.push({ channel, level, key, expiresAt, dueAt, body: bodies.next() });
    }
    into.push({ op: 'publish', rows });
  }
}

export function packReply({ results, handOuts, ...next }: TurnReply): PackedReply {
  const packed: PackedResult[] = [];
  for (const result of results) {
    const last = packed.at(-1);
    if (!('value' in result)) packed.push(result);
    else if (result.value !== undefined) packed.push(packSettled(result.value) ?? result);
    else if (typeof last === 'number') packed[packed.length - 1] = last + 1;
    else packed.push(1);
  }
  return { ...next, results: packed, handOuts: handOuts.map(packHandOut) };
}

/** Undefined where the value is another one than that of a settlement. */
function packSettled(value: unknown): Settled | undefined {
  if (!Array.isArray(value) || (value[0] !== 'settled' && value[0] !== 'lost')) return undefined;
  const lost: number[] = [];
  (value as readonly SettleResult[]).forEach((one, index) => {
    if (one === 'lost') lost.push(index);
  });
  return { settled: value.length, lost };
}

export function packHandOut({ consumer, items }: TurnReply['handOuts'][number]): PackedHandOut {
  const bodies = new TextPacker();
  const tokens: number[] = [];
  const tried: [number, string | null, number][] = [];
  let isAhead = false;
  for (const { token, body, state, abandoned, place } of items) {
    if (state !== null || abandoned !== 0) tried.push([tokens.length, state, abandoned]);
    tokens.push(token);
    if (place === undefined) bodies.add(body);
    else isAhead = true;
  }
  const places = isAhead ? items.map(({ place = -1 }) => place) : [];
  return { consumer, ...bodies.packed(), tokens, places, tried };
}

export function packBodies(bodies: readonly string[]): Texts {
  const packer = new TextPacker();
  for (const body of bodies) packer.add(body);
  return packer.packed();
}

export function unpackBodies(packed: Texts): readonly string[] {
  const bodies = new TextReader(packed);
  return packed.lengths.map(() => bodies.next());
}

/** A body that came ahead of its hand-out, with what it was read as. */
export type AheadBody = Pick<HandOut, 'body' | 'read'>;

export function noneAhead(place: number): never {
  throw new Error(`nothing came ahead for place ${place}`);
}

const DONE: OperationResult = Object.freeze({ value: undefined });

export function unpackReply({ results, handOuts, ...next }: PackedReply): TurnReply {
  const unpacked: OperationResult[] = [];
  for (const result of results) {
    if (typeof result === 'number') for (let n = 0; n < result; n += 1) unpacked.push(DONE);
    else if ('settled' in result) unpacked.push({ value: unpackSettled(result) });
    else unpacked.push(result);
  }
  return { ...next, results: unpacked, handOuts: handOuts.map((one) => unpackHandOut(one)) };
}

function unpackSettled({ settled, lost }: Settled): readonly SettleResult[] {
  const results = new Array<SettleResult>(settled).fill('settled');
  for (const index of lost) results[index] = 'lost';
  return results;
}

/** `ahead` gives what came ahead for a place. */
export function unpackHandOut(
  packed: PackedHandOut,
  ahead: (place: number) => AheadBody = noneAhead,
): TurnReply['handOuts'][number] {
  const bodies = new TextReader(packed);
  const items = packed.tokens.map((token, index): HandOut => {
    const place = packed.places[index] ?? -1;
    const { body, read } = place < 0 ? { body: bodies.next(), read: undefined } : ahead(place);
    return { token, body, state: null, abandoned: 0, read };
  });
  for (const [index, state, abandoned] of packed.tried)
    items[index] = { ...(items[index] as HandOut), state, abandoned };
  return { consumer: packed.consumer, items };
}
