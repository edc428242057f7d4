/**
 * Peeking and rewinding. An offset is the id of an entry, which the server makes of its own clock, so one place means the same in the streams of all
 * priorities, and a time is a place too.
 */
import type { Clock } from '../../clock.ts';
import { decodeCloudEvent } from '../../cloud-event.ts';
import type { PeekedMessage, ReplayPoint, SubscriptionName } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { RedisClient } from '../../redis/client.ts';
import { bodyOf, isWanted, type Wanted, wantedOf } from './incoming.ts';
import type { Entry } from './reader.ts';
import type { StreamScripts } from './scripts.ts';

export interface ReplayParts {
  readonly client: RedisClient;
  readonly scripts: StreamScripts;
  readonly clock: Clock;
}

type DueReply = readonly [
  levels: number,
  routing: string,
  bindings: string,
  due: readonly (readonly [origin: string, body: string, tried: number])[],
];

interface Waiting {
  readonly id: string;
  readonly body: string;
  readonly tried: boolean;
}

const PAGE = 200;
const LAST_OF_MS = '18446744073709551615';
const ID = /^(\d{1,15})-(\d{1,20})$/;

export async function peek(
  parts: ReplayParts,
  { channel, name }: SubscriptionName,
  limit: number,
): Promise<readonly PeekedMessage[]> {
  const reply = (await parts.scripts.run('peekDue', [
    channel,
    encodeURIComponent(name),
    name,
    limit,
  ])) as DueReply | null;
  if (reply === null) throw unknown(channel, name);
  const [levels, routing, bindings, due] = reply;
  const wanted = wantedOf(routing, bindings);
  const found = due.flatMap(([origin, body, tried]) =>
    shownOf({ id: idOf(origin), body, tried: tried === 1 }, wanted, parts.clock),
  );
  for (let level = 0; level < levels; level += 1) {
    const stream = `${parts.scripts.prefix}:stream:${channel}${level === 0 ? '' : `:${level}`}`;
    let left = limit;
    for await (const waiting of unread(parts.client, stream, name)) {
      if (left <= 0) break;
      const shown = shownOf(waiting, wanted, parts.clock);
      for (const one of shown) found.push(one);
      left -= shown.length;
    }
  }
  return found.toSorted((a, b) => compareIds(a.offset, b.offset)).slice(0, limit);
}

/** What the group has not read, page by page. */
async function* unread(client: RedisClient, stream: string, group: string): AsyncGenerator<Waiting> {
  const groups = (await client.send(['XINFO', 'GROUPS', stream])) as readonly (readonly unknown[])[];
  const ours = groups.find((one) => one[1] === group);
  if (!ours) return;
  let last = String(ours[ours.indexOf('last-delivered-id') + 1]);
  for (;;) {
    const page = (await client.send([
      'XRANGE',
      stream,
      `(${last}`,
      '+',
      'COUNT',
      String(PAGE),
    ])) as readonly Entry[];
    for (const [id, fields] of page) yield { id, body: bodyOf(fields), tried: false };
    if (page.length < PAGE) return;
    last = (page.at(-1) as Entry)[0];
  }
}

function shownOf(
  { id, body, tried }: Waiting,
  wanted: Wanted,
  clock: Clock,
): (PeekedMessage & { readonly offset: string })[] {
  const message = decoded(body);
  if (message?.expiresAt !== undefined && Date.parse(message.expiresAt) <= clock.now()) return [];
  const state = tried ? '' : undefined;
  if (!isWanted({ token: id, message, raw: body, state, abandoned: 0 }, wanted)) return [];
  return [{ offset: id, message, raw: body }];
}

function decoded(body: string): PeekedMessage['message'] {
  try {
    return decodeCloudEvent(body);
  } catch {
    return undefined;
  }
}

/** Of an origin, `<ms padded>-<number padded>.<level>`. */
function idOf(origin: string): string {
  const [ms = '', rest = ''] = origin.split('-');
  return `${Number(ms)}-${BigInt(rest.split('.', 1)[0] ?? '0')}`;
}

function compareIds(a: string, b: string): number {
  const [am = '', as = ''] = a.split('-');
  const [bm = '', bs = ''] = b.split('-');
  return Number(am) - Number(bm) || Number(BigInt(as) - BigInt(bs));
}

export async function rewind(
  { scripts }: ReplayParts,
  { channel, name }: SubscriptionName,
  from: ReplayPoint,
  dryRun: boolean,
): Promise<void> {
  const moved = await scripts.run('rewind', [
    channel,
    encodeURIComponent(name),
    name,
    lastBefore(from),
    dryRun ? 1 : 0,
  ]);
  if (moved === -1) throw unknown(channel, name);
  if (moved === -2)
    throw new MessagingError(
      'DB_MSG_UNSUPPORTED_CAPABILITY',
      `channel "${channel}" keeps nothing for replay: it was declared without requires.replay`,
    );
  if (moved === 0)
    throw new MessagingError(
      'DB_MSG_SUBSCRIPTION_BUSY',
      `subscription "${name}" of channel "${channel}" has consumers; stop them everywhere first`,
    );
}

/** The id of the last entry before the point, which need not exist. */
function lastBefore(from: ReplayPoint): string {
  if (from === 'earliest') return '0';
  if (from === 'latest') return '$';
  if ('timeMs' in from) {
    if (!Number.isFinite(from.timeMs)) throw badPoint(String(from.timeMs));
    return from.timeMs < 1 ? '0' : `${Math.ceil(from.timeMs) - 1}-${LAST_OF_MS}`;
  }
  const [, ms, number] = ID.exec(from.offset) ?? [];
  if (ms === undefined || number === undefined) throw badPoint(from.offset);
  if (BigInt(number) > 0n) return `${ms}-${BigInt(number) - 1n}`;
  return Number(ms) === 0 ? '0' : `${Number(ms) - 1}-${LAST_OF_MS}`;
}

const badPoint = (text: string): MessagingError =>
  new MessagingError('DB_MSG_INVALID_OPTIONS', `"${text}" is no place in a stream`);

const unknown = (channel: string, name: string): MessagingError =>
  new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" has no subscription "${name}"`);
