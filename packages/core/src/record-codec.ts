/**
 * Records as text. The text is what is hashed, so there is exactly one for each record: fixed key order, no spaces. No field
 * needs escaping (ids, hex, numbers, closed words), which is why the encoder is string concatenation: it runs once per entry.
 */
import { isDigest } from './hex.ts';
import type { EntryRecord, LaneRecord, RecordType } from './record.ts';

/** The text is not the canonical text of a record. */
export class RecordFormatError extends Error {
  override readonly name = 'RecordFormatError';
}

/** Ids of campaigns in records and signed messages: no character that would need escaping, and no line break. */
const campaignIdPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

export function isCampaignId(value: unknown): value is string {
  return typeof value === 'string' && campaignIdPattern.test(value);
}

/** The highest capacity, waitlist limit and unit number: what fits an unsigned 32-bit number of the batch head with room. */
export const maxUnits = 1_000_000_000;

type Check = (value: unknown) => boolean;
const whole =
  (lowest: number, highest: number): Check =>
  (value) =>
    Number.isInteger(value) &&
    (value as number) >= lowest &&
    (value as number) <= highest &&
    !Object.is(value, -0);
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const oneOf =
  (...words: readonly unknown[]): Check =>
  (value) =>
    words.includes(value);

const counting = whole(1, Number.MAX_SAFE_INTEGER);
const time = whole(0, 8_640_000_000_000_000);
const unit = whole(1, maxUnits);
const amount = whole(0, maxUnits);
const flag: Check = (value) => typeof value === 'boolean';
const digest: Check = isDigest;

/** Fields of each type after `recordNo`, `type`, `at`, in their order. */
const layouts: { readonly [type in RecordType]: readonly (readonly [name: string, check: Check])[] } = {
  PUBLISHED: [
    ['campaign', isCampaignId],
    ['lane', whole(0, 65_535)],
    ['definition', digest],
    ['capacity', unit],
    ['safetyStock', amount],
    ['waitlistLimit', amount],
    ['closeWhenSoldOut', flag],
    ['startsAt', time],
    ['endsAt', orNull(time)],
  ],
  OPENED: [],
  PAUSED: [],
  RESUMED: [],
  ENTRY: [
    ['seq', counting],
    ['verdict', oneOf('won', 'waitlisted')],
    ['unit', orNull(unit)],
    ['member', digest],
    ['answers', orNull(digest)],
  ],
  SOLD_OUT: [],
  REOPENED: [['free', amount]],
  STOCK_CHANGED: [
    ['capacity', unit],
    ['safetyStock', amount],
  ],
  REVOKED: [
    ['seq', counting],
    ['unit', orNull(unit)],
    ['unitBecomes', oneOf('free', 'void', null)],
  ],
  PROMOTED: [
    ['seq', counting],
    ['unit', unit],
  ],
  REPLACED: [
    ['seq', counting],
    ['unit', unit],
    ['newUnit', unit],
  ],
  CLOSED: [['reason', oneOf('ends-at', 'operator', 'sold-out')]],
  RESTORED: [['epoch', counting]],
};

/** The canonical text of a record, ASCII. The record must be well formed: it comes from `admit` or `decideLane`. */
export function encodeRecord(record: LaneRecord): string {
  if (record.type === 'ENTRY') return encodeEntry(record);
  let text = `{"recordNo":${record.recordNo},"type":"${record.type}","at":${record.at}`;
  const fields = record as unknown as Readonly<Record<string, unknown>>;
  for (const [name] of layouts[record.type]) text += `,"${name}":${JSON.stringify(fields[name])}`;
  return `${text}}`;
}

function encodeEntry(r: EntryRecord): string {
  const answers = r.answers === null ? 'null' : `"${r.answers}"`;
  return `{"recordNo":${r.recordNo},"type":"ENTRY","at":${r.at},"seq":${r.seq},"verdict":"${r.verdict}","unit":${r.unit},"member":"${r.member}","answers":${answers}}`;
}

/** The record of its canonical text. Throws a `RecordFormatError` on anything that `encodeRecord` would not have written. */
export function decodeRecord(text: string): LaneRecord {
  const fields = parseFields(text);
  const type = fields['type'];
  if (typeof type !== 'string' || !Object.hasOwn(layouts, type))
    throw new RecordFormatError('unknown record type');
  requireField(fields, 'recordNo', counting);
  requireField(fields, 'at', time);
  for (const [name, check] of layouts[type as RecordType]) requireField(fields, name, check);
  const record = fields as unknown as LaneRecord;
  requireAgreement(record);
  if (encodeRecord(record) !== text)
    throw new RecordFormatError('unknown field, or not the canonical text of the record');
  return record;
}

function parseFields(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RecordFormatError('not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new RecordFormatError('not an object');
  return value as Readonly<Record<string, unknown>>;
}

function requireField(fields: Readonly<Record<string, unknown>>, name: string, check: Check): void {
  if (!Object.hasOwn(fields, name)) throw new RecordFormatError(`${name} is missing`);
  if (!check(fields[name])) throw new RecordFormatError(`${name} is out of range`);
}

/** Fields that only make sense together. */
function requireAgreement(record: LaneRecord): void {
  if (record.type === 'ENTRY' && (record.unit !== null) !== (record.verdict === 'won')) {
    throw new RecordFormatError('an entry has a unit if and only if it won');
  }
  if (record.type === 'REVOKED' && (record.unit === null) !== (record.unitBecomes === null)) {
    throw new RecordFormatError('a revoked unit becomes free or void, and no unit becomes nothing');
  }
}
