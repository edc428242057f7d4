/**
 * The AsyncAPI 3.1 document of a service, from the channels it really uses: a pure function, so that a build can write it and a test can compare it.
 *
 * One service is one document: what it publishes are `send` operations, its subscriptions `receive` operations, and a channel
 * with a reply has the reply's address in the header of the request. What the toolkit knows beyond AsyncAPI (order, what
 * the channel requires) stands in `x-doorbuster`. It says nothing that the code does not: a contract without a JSON Schema is shown as such.
 */
import type { Channel } from '../channel.ts';
import { MessagingError } from '../errors.ts';
import { withoutSecret } from '../without-secret.ts';
import { type Json, payloadOf, schemaOf } from './contracts.ts';
import {
  channelBindings,
  correlationOf,
  headersOf,
  messageBindings,
  receiveBindings,
  type Wire,
  wireOf,
} from './wire.ts';

export interface AsyncApiServer {
  /** `amqp://host:port/vhost`, `kafka://host:port`, `redis://host`, `sqlite:./bus.db`. Everything before its last `@` is left out of the document. */
  readonly url: string;
  readonly description?: string;
}

export interface AsyncApiOptions {
  /** Name of the service. */
  readonly title: string;
  /** Version of the service, not of a channel. */
  readonly version: string;
  readonly description?: string;
  readonly servers?: Readonly<Record<string, AsyncApiServer>>;
  /** Channels to be shown although this service neither publishes nor subscribes. */
  readonly channels?: readonly Channel[];
  readonly publishes?: readonly Channel[];
  readonly subscribes?: readonly { readonly channel: Channel; readonly name: string }[];
  /** What the engine puts in front of exchanges and topics. Default `doorbuster.`, as the engines have it. */
  readonly prefix?: string;
}

export interface AsyncApiDocument {
  readonly asyncapi: '3.1.0';
  readonly info: Json;
  readonly servers?: Json;
  readonly channels: Json;
  readonly operations: Json;
  readonly components: Json;
}

/** Throws DB_MSG_INVALID_OPTIONS for a server's URL that is none and DB_MSG_ALREADY_DECLARED when two channels have one name. */
export function asyncApiOf(options: AsyncApiOptions): AsyncApiDocument {
  const servers = Object.entries(options.servers ?? {}).map(
    ([name, one]) => [name, serverOf(name, one)] as const,
  );
  const wire = wireOf(servers.map(([, { protocol }]) => protocol));
  const channels = channelsOf(options);
  const prefix = options.prefix ?? 'doorbuster.';
  const replies = replyKeysOf(channels);
  return {
    asyncapi: '3.1.0',
    info: defined({
      title: options.title,
      version: options.version,
      description: options.description,
      'x-generator': '@doorbuster/messaging',
    }),
    ...(servers.length === 0 ? {} : { servers: Object.fromEntries(servers) }),
    channels: Object.fromEntries(channels.flatMap((one) => channelEntries(one, wire, prefix, replies))),
    operations: Object.fromEntries(operationEntries(options, wire, replies)),
    components: { messages: Object.fromEntries(channels.flatMap((one) => messageEntries(one, wire))) },
  };
}

function channelsOf({ channels = [], publishes = [], subscribes = [] }: AsyncApiOptions): readonly Channel[] {
  const byName = new Map<string, Channel>();
  for (const channel of [...channels, ...publishes, ...subscribes.map((one) => one.channel)]) {
    const known = byName.get(channel.name);
    if (known && known !== channel)
      throw new MessagingError('DB_MSG_ALREADY_DECLARED', `two channels are called "${channel.name}"`);
    byName.set(channel.name, channel);
  }
  return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function serverOf(name: string, { url, description }: AsyncApiServer): Json & { readonly protocol: string } {
  const protocol = /^([a-z][a-z0-9+.-]*):./i.exec(url)?.[1];
  // Not repeated: what is no URL may be a password in a wrong place.
  if (protocol === undefined)
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `server "${name}": not a URL such as amqp://host`);
  if (protocol === 'sqlite')
    return { host: 'localhost', pathname: afterScheme(url), protocol, ...defined({ description }) };
  const [, host = '', pathname = ''] = /^([^/?#]*)(\/[^?#]*)?/.exec(afterScheme(withoutSecret(url))) ?? [];
  return {
    host,
    protocol,
    ...defined({ pathname: pathname.length > 1 ? pathname : undefined, description }),
  };
}

const afterScheme = (url: string): string => url.replace(/^[^:]*:(?:\/\/)?/, '');
const messageName = ({ name, version }: Channel): string => `${name}.v${version}`;
const replyName = (channel: Channel): string => `${channel.name}.reply`;
const pointer = (...path: readonly string[]): string =>
  path.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
const ref = (...path: readonly string[]): Json => ({ $ref: `#${pointer(...path)}` });

/** Where the replies to a channel stand among the channels. */
type ReplyKeys = (channel: Channel) => string;

/** Their own name, unless a channel has it; none is called with a colon. */
function replyKeysOf(channels: readonly Channel[]): ReplyKeys {
  const taken = new Set(channels.map(({ name }) => name));
  return (channel) => (taken.has(replyName(channel)) ? `${channel.name}:reply` : replyName(channel));
}

function channelEntries(
  channel: Channel,
  wire: Wire | undefined,
  prefix: string,
  replyKey: ReplyKeys,
): [string, Json][] {
  const own = messageName(channel);
  const { order, onFailure, requires } = channel;
  const entry = defined({
    address: channel.name,
    messages: { [own]: ref('components', 'messages', own) },
    bindings: channelBindings(channel, wire, prefix),
    'x-doorbuster': { order, onFailure, requires },
  });
  if (!channel.definition.reply) return [[channel.name, entry]];
  const reply = replyName(channel);
  const replies = { address: null, messages: { [reply]: ref('components', 'messages', reply) } };
  return [
    [channel.name, entry],
    [replyKey(channel), replies],
  ];
}

function messageEntries(channel: Channel, wire: Wire | undefined): [string, Json][] {
  const { definition } = channel;
  const placeIn = (message: string, part: string): string => pointer('components', 'messages', message, part);
  const envelope = wire === 'structured' ? 'application/cloudevents+json' : undefined;
  const contentType = envelope ?? definition.encoding?.contentType ?? 'application/json';
  const own = defined({
    name: channel.name,
    contentType,
    headers: headersOf(channel, channel.name, wire),
    payload: payloadOf(channel, placeIn(messageName(channel), 'payload')),
    correlationId: correlationOf(wire),
    bindings: messageBindings(channel, wire),
    // The contract checks what the encoding's own schema cannot say.
    'x-contract': definition.encoding
      ? schemaOf(definition.schema, placeIn(messageName(channel), 'x-contract'))
      : undefined,
  });
  if (!definition.reply) return [[messageName(channel), own]];
  const reply = {
    name: replyName(channel),
    contentType: envelope ?? 'application/json',
    headers: headersOf({ ...channel, order: 'none', requires: {} }, replyName(channel), wire),
    payload: schemaOf(definition.reply, placeIn(replyName(channel), 'payload')),
    correlationId: correlationOf(wire),
  };
  return [
    [messageName(channel), own],
    [replyName(channel), reply],
  ];
}

function operationEntries(
  { publishes = [], subscribes = [] }: AsyncApiOptions,
  wire: Wire | undefined,
  replyKey: ReplyKeys,
): [string, Json][] {
  const sends = publishes.map((channel): [string, Json] => [
    `send.${channel.name}`,
    { action: 'send', ...onChannel(channel, wire, replyKey(channel)) },
  ]);
  const receives = subscribes.map(({ channel, name }): [string, Json] => [
    `receive.${channel.name}.${withoutDots(name)}`,
    defined({
      action: 'receive',
      title: name,
      ...onChannel(channel, wire, replyKey(channel)),
      bindings: receiveBindings(name, wire),
    }),
  ]);
  return [...sends, ...receives];
}

/** The last dot of an operation's name parts channel and subscription: `a.b` on `c` and `b` on `c.a` are two. */
const withoutDots = (name: string): string => name.replaceAll('%', '%25').replaceAll('.', '%2E');

function onChannel(channel: Channel, wire: Wire | undefined, replyKey: string): Json {
  const own = messageName(channel);
  const reply = replyName(channel);
  const prefix = wire === 'kafka' ? 'ce_' : wire === 'amqp' ? 'cloudEvents_' : '';
  return defined({
    channel: ref('channels', channel.name),
    messages: [ref('channels', channel.name, 'messages', own)],
    reply: channel.definition.reply && {
      address: { location: `$message.header#/${prefix}replyto` },
      channel: ref('channels', replyKey),
      messages: [ref('channels', replyKey, 'messages', reply)],
    },
  });
}

function defined(entries: Readonly<Record<string, unknown>>): Json {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined));
}
