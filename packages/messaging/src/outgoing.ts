/** Makes messages: the one place where options are checked, data meets its contract and a message gets its id, for the bus and for outboxes. */
import type { Channel } from './channel.ts';
import type { Clock } from './clock.ts';
import { faultOfHeaders } from './cloud-event.ts';
import { decodeData, encodeData } from './encoding.ts';
import { describeError, MessagingError } from './errors.ts';
import type { Ids } from './ids.ts';
import { answersLater, copyOfJson, noteAnswersLater } from './later-check.ts';
import type { Message } from './message.ts';
import { faultOfId, faultOfRoutingKey, faultOfText } from './sound-text.ts';

/** Publish options as they come from JavaScript: the types of a channel have narrowed them for everybody else. */
export interface LooseOptions {
  readonly id?: string;
  readonly key?: string;
  readonly correlationId?: string;
  readonly causationId?: string;
  readonly traceparent?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly delayMs?: number;
  readonly priority?: number;
  /** ms since the epoch. */
  readonly expiresAt?: number;
  readonly routingKey?: string;
}

const TEXTS = ['key', 'correlationId', 'causationId', 'traceparent'] as const;

/** The types refuse these already; JavaScript and widened types do not. */
function refuseBadOptions(channel: Channel, options: LooseOptions): void {
  const { delayMs, priority, expiresAt, key, routingKey } = options;
  const bad = (detail: string): never => {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `channel "${channel.name}": ${detail}`);
  };
  const ofId = options.id === undefined ? undefined : faultOfId(options.id);
  if (ofId !== undefined) bad(`id ${ofId}, or left out`);
  for (const name of TEXTS) {
    const fault = options[name] === undefined ? undefined : faultOfText(options[name]);
    if (fault !== undefined) bad(`${name} ${fault}, or left out`);
  }
  const ofHeaders = faultOfHeaders(options.headers);
  if (ofHeaders !== undefined) bad(ofHeaders);
  if (channel.order === 'key' && (key === undefined || key === '')) bad('a key is needed for order per key');
  if (delayMs !== undefined) {
    const maxMs = channel.requires.delay?.maxMs ?? bad('delayMs needs requires.delay');
    if (!(delayMs >= 0) || delayMs > maxMs) bad(`delayMs is 0 to ${maxMs}`);
  }
  if (priority !== undefined) {
    const levels = channel.requires.priority?.levels ?? bad('priority needs requires.priority');
    if (!Number.isInteger(priority) || priority < 0 || priority >= levels)
      bad(`priority is 0 to ${levels - 1}`);
  }
  if (expiresAt !== undefined && !channel.requires.ttl) bad('expiresAt needs requires.ttl');
  if (expiresAt !== undefined && !isTime(expiresAt)) bad('expiresAt is ms since the epoch');
  const { routing } = channel.requires;
  const byKey = routing === 'direct' || routing === 'topic';
  if (byKey && routingKey === undefined) bad(`a routingKey is needed for ${routing} routing`);
  if (!byKey && routingKey !== undefined) bad('routingKey needs requires.routing of direct or topic');
  const ofRoutingKey = routingKey === undefined ? undefined : faultOfRoutingKey(routingKey);
  if (ofRoutingKey !== undefined) bad(`routingKey ${ofRoutingKey}`);
}

/** What a `Date` can hold. */
const LAST_TIME_MS = 8.64e15;

/** A number of ms since the epoch that a message can carry. */
export function isTime(ms: unknown): boolean {
  return typeof ms === 'number' && Math.abs(ms) <= LAST_TIME_MS;
}

export interface MessageParts {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly source: string;
}

/** The message of this data. Throws DB_MSG_INVALID_OPTIONS or DB_MSG_INVALID_DATA; a promise only where the contract checks asynchronously. */
export function makeMessage(
  parts: MessageParts,
  channel: Channel,
  data: unknown,
  options: LooseOptions,
): Message | Promise<Message> {
  refuseBadOptions(channel, options);
  if (answersLater(channel.check)) return makeLater(parts, channel, data, options);
  const fault = channel.check(data);
  if (fault instanceof Promise) {
    noteAnswersLater(channel.check);
    return makeLater(parts, channel, data, options);
  }
  refuseUnfit(channel, fault);
  return composeMessage(parts, channel, encodeData(channel, data), options);
}

/** All of the message is taken before its contract is asked, and the contract is asked about what was taken. */
function makeLater(
  parts: MessageParts,
  channel: Channel,
  data: unknown,
  options: LooseOptions,
): Message | Promise<Message> {
  const content = takenFrom(channel, data);
  const message = composeMessage(parts, channel, content, { ...options, headers: { ...options.headers } });
  const judged = (fault: string | undefined): Message => {
    refuseUnfit(channel, fault);
    return message;
  };
  const fault = channel.check(decodeData(channel, message));
  return fault instanceof Promise ? fault.then(judged) : judged(fault);
}

function takenFrom(channel: Channel, data: unknown): Content {
  if (channel.definition.encoding) return encodeData(channel, data);
  try {
    return { data: copyOfJson(data) };
  } catch (cause) {
    const fault = `channel "${channel.name}": not JSON: ${describeError(cause)}`;
    throw new MessagingError('DB_MSG_INVALID_DATA', fault, { cause });
  }
}

function refuseUnfit(channel: Channel, fault: string | undefined): void {
  if (fault !== undefined)
    throw new MessagingError('DB_MSG_INVALID_DATA', `channel "${channel.name}": ${fault}`);
}

type Content = Pick<Message, 'data' | 'contentType'>;

function composeMessage(
  { clock, ids, source }: MessageParts,
  channel: Channel,
  { data, contentType }: Content,
  options: LooseOptions,
): Message {
  const message: { -readonly [name in keyof Message]: Message[name] } = {
    id: options.id ?? ids.next(),
    type: channel.name,
    version: channel.version,
    source,
    time: isoTime(clock.now()),
    data,
    headers: options.headers ?? {},
  };
  if (contentType !== undefined) message.contentType = contentType;
  if (options.key !== undefined) message.key = options.key;
  if (options.routingKey !== undefined) message.routingKey = options.routingKey;
  if (options.correlationId !== undefined) message.correlationId = options.correlationId;
  if (options.causationId !== undefined) message.causationId = options.causationId;
  if (options.expiresAt !== undefined) message.expiresAt = new Date(options.expiresAt).toISOString();
  if (options.traceparent !== undefined) message.traceparent = options.traceparent;
  return message;
}

/** Many messages are made in one millisecond, and writing the time is a good part of making one. */
let lastMs = Number.NaN;
let lastTime = '';

function isoTime(ms: number): string {
  if (ms !== lastMs) {
    lastTime = new Date(ms).toISOString();
    lastMs = ms;
  }
  return lastTime;
}
