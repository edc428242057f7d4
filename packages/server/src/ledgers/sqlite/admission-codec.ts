/**
 * One admission batch as bytes, each way between the threads. As objects a structured clone cost the two threads 24 us an entry; as one transferred
 * buffer it is a copy of some hundred bytes, and the writer hashes, stores and seals straight from it.
 *
 *   commands  u32 count, then each: u32 offset of the next | flags | salt 16 | member key 16 | salt 16 | answers as canonical JSON
 *             (salt before key and salt before answers are the very bytes of the two commitments)
 *   answers   u32 count, u32 bytes of the table, table (JSON array of texts), then each of 64 bytes, then the receipts' own parts as ASCII
 *
 * The table holds what many receipts share (all of a batch have one head and one signature) and the reasons. Private to this folder: whoever writes a
 * message reads it in the same program.
 */
import { canonicalJson, type Decision, type MemberKey } from '@doorbuster/core';
import type { AdmissionAnswer, AdmissionCommand } from '../../ledger.ts';

const head = 8;
const fixed = head + 48;
const screened = 1;
const answered = 2;

/** In a buffer of its own, so that it can be transferred. Throws a RangeError on a key or salt that is not 32 characters of hex. */
export function packCommands(commands: readonly AdmissionCommand[]): Uint8Array {
  const texts = commands.map(({ answers }) => (answers === null ? '' : canonicalJson(answers)));
  const room = texts.reduce((sum, text) => sum + fixed + 3 * text.length, 4);
  const bytes = Buffer.allocUnsafeSlow(room);
  bytes.writeUInt32LE(commands.length, 0);
  let at = 4;
  for (let i = 0; i < commands.length; i++) {
    const { memberKey, salt, answers, screenedOut } = commands[i] as AdmissionCommand;
    writeHex(bytes, salt, at + head);
    writeHex(bytes, memberKey, at + head + 16);
    bytes.copyWithin(at + head + 32, at + head, at + head + 16);
    const end = at + fixed + bytes.write(texts[i] as string, at + fixed);
    bytes.writeUInt32LE(end, at);
    bytes.writeUInt32LE((screenedOut ? screened : 0) | (answers === null ? 0 : answered), at + 4);
    at = end;
  }
  return bytes;
}

function writeHex(bytes: Buffer, hex: string, at: number): void {
  if (hex.length !== 32 || bytes.write(hex, at, 'hex') !== 16)
    throw new RangeError('a member key or a salt is the hex of 16 bytes');
}

/** The commands of a packed batch, read where they lie. The views are of the message: they live as long as it does. */
export class PackedCommands {
  readonly #bytes: Buffer;
  readonly #starts: Uint32Array;
  readonly count: number;

  constructor(packed: Uint8Array) {
    this.#bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
    this.count = this.#bytes.readUInt32LE(0);
    this.#starts = new Uint32Array(this.count);
    for (let i = 0, at = 4; i < this.count; i++, at = this.#bytes.readUInt32LE(at)) this.#starts[i] = at;
  }

  #view(index: number, from: number, to: number): Buffer {
    const start = (this.#starts[index] as number) + head;
    return this.#bytes.subarray(start + from, start + to);
  }

  #has(index: number, flag: number): boolean {
    return (this.#bytes.readUInt32LE((this.#starts[index] as number) + 4) & flag) !== 0;
  }

  screenedOut(index: number): boolean {
    return this.#has(index, screened);
  }

  salt(index: number): Uint8Array {
    return this.#view(index, 0, 16);
  }

  key(index: number): Uint8Array {
    return this.#view(index, 16, 32);
  }

  memberKey(index: number): MemberKey {
    return this.#view(index, 16, 32).toString('hex');
  }

  /** What the record's `member` is the SHA-256 of. */
  memberOpening(index: number): Uint8Array {
    return this.#view(index, 0, 32);
  }

  /** What the record's `answers` is the SHA-256 of; null without answers. */
  answersOpening(index: number): Uint8Array | null {
    if (!this.#has(index, answered)) return null;
    const start = this.#starts[index] as number;
    return this.#bytes.subarray(start + head + 32, this.#bytes.readUInt32LE(start));
  }

  /** Canonical JSON; null without answers. */
  answers(index: number): Uint8Array | null {
    return this.answersOpening(index)?.subarray(16) ?? null;
  }
}

/** A receipt in the three parts that it is put together from: `before` and `after` are the same for a whole batch of records. */
export interface ReceiptParts {
  readonly before: string;
  readonly own: string;
  readonly after: string;
}
/** `own`: the salt that came with the command. */
export type AnsweredSalt = 'own' | Uint8Array | null;

const verdicts: readonly Decision['verdict'][] = [
  'won',
  'waitlisted',
  'sold-out',
  'closed',
  'ineligible',
  'not-open',
  'paused',
];
const stride = 64;
const place = { verdict: 0, repeated: 1, salt: 2, unit: 4, seq: 8, recordNo: 16, at: 24 } as const;
const text = { before: 32, after: 36, from: 40, to: 44 } as const;
const saltBytes = 48;
const noSalt = 0;
const ownSalt = 1;
const givenSalt = 2;

/** Gathers the answers of one batch. */
export class AnswerPacker {
  readonly #fixed: Buffer;
  readonly #table: string[] = [''];
  readonly #numbers = new Map<string, number>();
  readonly #own: string[] = [];
  #ownLength = 0;
  #count = 0;

  constructor(count: number) {
    this.#fixed = Buffer.alloc(count * stride);
  }

  add(decision: Decision, receipt: ReceiptParts | null, salt: AnsweredSalt, at: number): void {
    const bytes = this.#fixed;
    const from = this.#count++ * stride;
    bytes[from + place.verdict] = verdicts.indexOf(decision.verdict);
    bytes.writeDoubleLE(at, from + place.at);
    if ('repeated' in decision) {
      bytes[from + place.repeated] = decision.repeated ? 1 : 0;
      bytes.writeUInt32LE(decision.unit ?? 0, from + place.unit);
      bytes.writeDoubleLE(decision.seq, from + place.seq);
    }
    if ('recordNo' in decision) bytes.writeDoubleLE(decision.recordNo, from + place.recordNo);
    if ('opensAt' in decision) bytes.writeDoubleLE(decision.opensAt, from + place.seq);
    if ('reason' in decision) bytes.writeUInt32LE(this.#numberOf(decision.reason), from + text.before);
    if (receipt !== null) this.#addReceipt(from, receipt);
    if (salt === 'own') bytes[from + place.salt] = ownSalt;
    else if (salt !== null) {
      bytes[from + place.salt] = givenSalt;
      bytes.set(salt, from + saltBytes);
    }
  }

  #addReceipt(from: number, { before, own, after }: ReceiptParts): void {
    this.#fixed.writeUInt32LE(this.#numberOf(before), from + text.before);
    this.#fixed.writeUInt32LE(this.#numberOf(after), from + text.after);
    this.#fixed.writeUInt32LE(this.#ownLength, from + text.from);
    this.#ownLength += own.length;
    this.#fixed.writeUInt32LE(this.#ownLength, from + text.to);
    this.#own.push(own);
  }

  #numberOf(shared: string): number {
    let number = this.#numbers.get(shared);
    if (number === undefined) {
      number = this.#table.push(shared) - 1;
      this.#numbers.set(shared, number);
    }
    return number;
  }

  /** In a buffer of its own, so that it can be transferred. */
  pack(): Uint8Array {
    const table = Buffer.from(JSON.stringify(this.#table));
    const bytes = Buffer.allocUnsafeSlow(8 + table.length + this.#fixed.length + this.#ownLength);
    bytes.writeUInt32LE(this.#count, 0);
    bytes.writeUInt32LE(table.length, 4);
    bytes.set(table, 8);
    bytes.set(this.#fixed, 8 + table.length);
    bytes.write(this.#own.join(''), 8 + table.length + this.#fixed.length, 'latin1');
    return bytes;
  }
}

/** `commands`: the batch that was asked, for the salts that are its own. */
export function unpackAnswers(packed: Uint8Array, commands: readonly AdmissionCommand[]): AdmissionAnswer[] {
  const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  const count = bytes.readUInt32LE(0);
  const answersAt = 8 + bytes.readUInt32LE(4);
  const table = JSON.parse(bytes.toString('utf8', 8, answersAt)) as string[];
  // One text for all: the parts are slices of it, which copy nothing.
  const own = bytes.toString('latin1', answersAt + count * stride);
  const answers: AdmissionAnswer[] = [];
  for (let i = 0; i < count; i++) {
    const from = answersAt + i * stride;
    answers.push({
      decision: decisionAt(bytes, from, table),
      receipt: receiptAt(bytes, from, table, own),
      salt: saltAt(bytes, from, commands[i] as AdmissionCommand),
      at: bytes.readDoubleLE(from + place.at),
    });
  }
  return answers;
}

function decisionAt(bytes: Buffer, from: number, table: readonly string[]): Decision {
  const verdict = verdicts[bytes[from + place.verdict] as number] as Decision['verdict'];
  switch (verdict) {
    case 'won':
    case 'waitlisted': {
      const unit = bytes.readUInt32LE(from + place.unit);
      return {
        verdict,
        seq: bytes.readDoubleLE(from + place.seq),
        recordNo: bytes.readDoubleLE(from + place.recordNo),
        unit: unit === 0 ? null : unit,
        repeated: bytes[from + place.repeated] === 1,
      };
    }
    case 'sold-out':
    case 'closed':
      return { verdict, recordNo: bytes.readDoubleLE(from + place.recordNo) };
    case 'ineligible':
      return { verdict, reason: table[bytes.readUInt32LE(from + text.before)] as string };
    case 'not-open':
      return { verdict, opensAt: bytes.readDoubleLE(from + place.seq) };
    case 'paused':
      return { verdict };
  }
}

function receiptAt(bytes: Buffer, from: number, table: readonly string[], own: string): string | null {
  const after = bytes.readUInt32LE(from + text.after);
  if (after === 0) return null;
  const before = table[bytes.readUInt32LE(from + text.before)] as string;
  const middle = own.slice(bytes.readUInt32LE(from + text.from), bytes.readUInt32LE(from + text.to));
  return before + middle + (table[after] as string);
}

function saltAt(bytes: Buffer, from: number, command: AdmissionCommand): string | null {
  const kind = bytes[from + place.salt] as number;
  if (kind === noSalt) return null;
  return kind === ownSalt ? command.salt : bytes.toString('hex', from + saltBytes, from + stride);
}
