/**
 * What one row of an import means: a member or a voucher code, from CSV (all text) or JSON (typed). Pure; every fault of a row is a sentence.
 * Columns are documented in `docs/guides/api.md`; unknown columns are refused, because a misspelt `lastPurchaseAt` would let the wrong people in.
 */
import type { MemberAttributes } from '@doorbuster/core';
import type { Contact, Voucher } from '../../ledger.ts';
import { isText } from '../text.ts';

export const memberColumns = [
  'memberId',
  'email',
  'phone',
  'locale',
  'lastPurchaseAt',
  'orders',
  'tier',
  'tags',
] as const;
export const codeColumns = ['code', 'pin', 'url', 'validUntil'] as const;

/** Values by column. CSV gives text, JSON numbers and lists as well; an empty text means "not given". */
export type RawRow = Readonly<Record<string, unknown>>;
export type RowResult<T> =
  | { readonly ok: true; readonly row: T }
  | { readonly ok: false; readonly message: string };

export interface ReadMember {
  readonly memberId: string;
  readonly contact: Contact | null;
  readonly attributes: MemberAttributes;
}

class RowFault extends Error {}

export function readMember(raw: RawRow): RowResult<ReadMember> {
  return reading(() => {
    checkColumns(raw, memberColumns);
    const memberId = requiredText(raw, 'memberId', 256);
    return { memberId, contact: contactOf(raw), attributes: attributesOf(raw) };
  });
}

export function readVoucherCode(raw: RawRow): RowResult<Voucher> {
  return reading(() => {
    checkColumns(raw, codeColumns);
    const code = requiredText(raw, 'code', 256);
    const pin = optionalText(raw, 'pin', 64);
    const url = httpUrl(raw);
    const validUntil = time(raw, 'validUntil');
    return {
      code,
      ...(pin !== undefined && { pin }),
      ...(url !== undefined && { url }),
      ...(validUntil !== undefined && { validUntil: validUntil.text }),
    };
  });
}

function reading<T>(read: () => T): RowResult<T> {
  try {
    return { ok: true, row: read() };
  } catch (error) {
    if (error instanceof RowFault) return { ok: false, message: error.message };
    throw error;
  }
}

function checkColumns(raw: RawRow, columns: readonly string[]): void {
  const unknown = Object.keys(raw).find((name) => !columns.includes(name));
  if (unknown !== undefined) throw new RowFault(`unknown field ${JSON.stringify(unknown.slice(0, 64))}`);
}

function contactOf(raw: RawRow): Contact | null {
  const email = optionalText(raw, 'email', 254);
  const phone = optionalText(raw, 'phone', 32)?.replace(/[\s().-]/g, '');
  const locale = optionalText(raw, 'locale', 16);
  if (email !== undefined && !/^[^\s@<>,;"]+@[^\s@<>,;"]+\.[^\s@<>,;"]+$/.test(email))
    throw new RowFault('email is not an address');
  if (phone !== undefined && !/^\+?\d{7,15}$/.test(phone)) throw new RowFault('phone is not a number');
  if (locale !== undefined && locale !== 'ko' && locale !== 'en') throw new RowFault('locale is ko or en');
  if (email === undefined && phone === undefined) return null;
  return {
    ...(email !== undefined && { email }),
    ...(phone !== undefined && { phone }),
    ...(locale !== undefined && { locale }),
  };
}

function attributesOf(raw: RawRow): MemberAttributes {
  const lastPurchaseAt = time(raw, 'lastPurchaseAt');
  const orders = wholeNumber(raw, 'orders');
  const tier = optionalText(raw, 'tier', 64);
  const tags = tagsOf(raw);
  return {
    ...(lastPurchaseAt !== undefined && { lastPurchaseAt: lastPurchaseAt.ms }),
    ...(orders !== undefined && { orders }),
    ...(tier !== undefined && { tier }),
    ...(tags !== undefined && { tags }),
  };
}

function optionalText(raw: RawRow, name: string, maxLength: number): string | undefined {
  const value = raw[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw new RowFault(`${name} is not text`);
  const text = value.trim();
  if (text === '') return undefined;
  if (text.length > maxLength) throw new RowFault(`${name} is longer than ${maxLength} characters`);
  if (!isText(text)) throw new RowFault(`${name} has characters that are not text`);
  return text;
}

function requiredText(raw: RawRow, name: string, maxLength: number): string {
  const text = optionalText(raw, name, maxLength);
  if (text === undefined) throw new RowFault(`${name} is missing`);
  return text;
}

function wholeNumber(raw: RawRow, name: string): number | undefined {
  const value = raw[name];
  if (value === undefined || value === null || value === '') return undefined;
  const number = typeof value === 'string' && /^\s*\d{1,15}\s*$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < 0)
    throw new RowFault(`${name} is not a whole number`);
  return number;
}

/** RFC 3339 with its offset, or a date alone (then its first moment in UTC). */
function time(raw: RawRow, name: string): { ms: number; text: string } | undefined {
  const text = optionalText(raw, name, 40);
  if (text === undefined) return undefined;
  const shaped = /^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d))?$/.test(text);
  const ms = shaped ? Date.parse(text.replace(' ', 'T')) : Number.NaN;
  if (Number.isNaN(ms))
    throw new RowFault(`${name} is not a time like 2026-12-01T10:00:00+09:00 or a date like 2026-12-01`);
  return { ms, text };
}

function httpUrl(raw: RawRow): string | undefined {
  const text = optionalText(raw, 'url', 2_000);
  if (text === undefined) return undefined;
  // The member is shown this link: only the web, never `javascript:`.
  if (!/^https?:$/.test(URL.parse(text)?.protocol ?? ''))
    throw new RowFault('url is not an http or https address');
  return text;
}

function tagsOf(raw: RawRow): readonly string[] | undefined {
  const value = raw['tags'];
  if (value === undefined || value === null || value === '') return undefined;
  const list = typeof value === 'string' ? value.split(';') : value;
  if (!Array.isArray(list) || list.some((tag) => typeof tag !== 'string'))
    throw new RowFault('tags is not a list of texts');
  const tags = list.map((tag: string) => tag.trim()).filter((tag) => tag !== '');
  if (tags.length > 50 || tags.some((tag) => tag.length > 64 || !isText(tag)))
    throw new RowFault('tags has at most 50 words of 64 characters');
  return tags.length > 0 ? [...new Set(tags)] : undefined;
}
