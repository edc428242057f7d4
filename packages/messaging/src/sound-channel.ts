/**
 * What a definition of a channel may say, checked before any engine is involved: types refuse most of it, JavaScript and widened types do not, and a word that is
 * mistyped would be a thing that was never asked for: `order: 'Key'` a channel without order per key, `confirm: 'sync'` any durability at all.
 *
 * Names first, then values, then what excludes itself. Whether an engine can do what is asked is not looked at here (`requirements.ts`).
 */
import type {
  ChannelDefinition,
  ChannelRequirements,
  Durability,
  EmulatableFeature,
  FailureOrder,
} from './channel.ts';
import { MessagingError } from './errors.ts';
import { isReservedForReplies } from './reply-channel.ts';
import { COUNT, type NumberRule, refuseBadNumbers, SPAN_MS } from './sound-numbers.ts';
import { faultOfText } from './sound-text.ts';

type Bad = (detail: string) => never;

/** Throws DB_MSG_INVALID_OPTIONS for a name that there is none of and a value out of its bounds, DB_MSG_CHANNEL_CONTRADICTION for what excludes itself. */
export function refuseUnsound(definition: ChannelDefinition): void {
  if (!isObject(definition))
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'a definition of a channel is an object');
  const what = `channel "${String(definition.name)}"`;
  const bad: Bad = (detail) => {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `${what}: ${detail}`);
  };
  refuseStrangeNames(definition, bad);
  refuseBadNames(definition, bad);
  refuseBadParts(definition, bad);
  refuseBadChoices(definition, bad);
  refuseBadSizes(what, definition.requires ?? {}, bad);
  refuseBadUpcasters(definition, bad);
  refuseContradictions(definition);
}

const DEFINED = namesOf<keyof ChannelDefinition>({
  name: 1,
  schema: 1,
  reply: 1,
  version: 1,
  order: 1,
  onFailure: 1,
  requires: 1,
  encoding: 1,
  upcasters: 1,
});
const REQUIRED = namesOf<keyof ChannelRequirements>({
  confirm: 1,
  delay: 1,
  priority: 1,
  ttl: 1,
  replay: 1,
  routing: 1,
  broadcast: 1,
  deadLetters: 1,
  size: 1,
  emulation: 1,
});
const ORDERS = namesOf<NonNullable<ChannelDefinition['order']>>({ none: 1, key: 1 });
const FAILURE_ORDERS = namesOf<FailureOrder>({ skip: 1, blockKey: 1, sequencedDlq: 1 });
const DURABILITIES = namesOf<Durability>({ none: 1, memory: 1, disk: 1, replicated: 1 });
const ROUTINGS = namesOf<NonNullable<ChannelRequirements['routing']>>({ direct: 1, topic: 1, headers: 1 });
const EMULATED = namesOf<EmulatableFeature>({ delay: 1, priority: 1, ttl: 1, order: 1, routing: 1 });

/** All of them, because the types say which there are. */
function namesOf<T extends string>(names: Readonly<Record<T, 1>>): readonly string[] {
  return Object.keys(names);
}

/** What says how much: one number each. Engines keep times in ms as whole numbers. */
const SIZES: Readonly<
  Record<
    'delay' | 'priority' | 'replay' | 'size',
    { readonly name: string; readonly rule: NumberRule; readonly example: string }
  >
> = {
  delay: {
    name: 'maxMs',
    rule: { ...SPAN_MS, to: Number.MAX_SAFE_INTEGER },
    example: 'delay: { maxMs: 60_000 }',
  },
  priority: { name: 'levels', rule: { from: 2, to: 10, whole: true }, example: 'priority: { levels: 3 }' },
  replay: {
    name: 'keepMs',
    rule: { ...SPAN_MS, to: Number.MAX_SAFE_INTEGER },
    example: 'replay: { keepMs: 86_400_000 }',
  },
  size: { name: 'maxBytes', rule: COUNT, example: 'size: { maxBytes: 1_000_000 }' },
};
const YES = ['ttl', 'broadcast', 'deadLetters'] as const;

const CHANNEL_NAME = /^[a-z0-9][a-z0-9._-]{0,119}$/;

function refuseStrangeNames(definition: ChannelDefinition, bad: Bad): void {
  const strange = [
    ...Object.keys(definition).filter((name) => !DEFINED.includes(name)),
    ...Object.keys(definition.requires ?? {})
      .filter((name) => !REQUIRED.includes(name))
      .map((name) => `requires.${name}`),
  ];
  if (strange.length > 0)
    bad(
      `there is no ${strange.join(', ')}; a definition has ${DEFINED.join(', ')}, and requires has ${REQUIRED.join(', ')}`,
    );
}

function refuseBadNames({ name, version }: ChannelDefinition, bad: Bad): void {
  if (typeof name !== 'string' || !CHANNEL_NAME.test(name))
    bad('the name has to be lower-case letters, digits, dots and dashes, at most 120');
  if (isReservedForReplies(name)) bad('names that begin with "replies." are those of reply channels');
  if (!Number.isSafeInteger(version) || version < 1) bad('version is a whole number from 1');
}

function refuseBadParts({ schema, reply, requires, encoding }: ChannelDefinition, bad: Bad): void {
  // Some libraries have schemas that can be called.
  const isSchema = (value: unknown): boolean => isObject(value) || typeof value === 'function';
  if (!isSchema(schema)) bad('schema is a JSON Schema or a Standard Schema');
  if (reply !== undefined && !isSchema(reply)) bad('reply is a schema, or left out');
  if (requires !== undefined && (!isObject(requires) || Array.isArray(requires)))
    bad('requires is an object, or left out');
  if (encoding === undefined) return;
  const { contentType, encode, decode } = Object(encoding) as Partial<typeof encoding>;
  const isWhole = typeof encode === 'function' && typeof decode === 'function';
  if (!isWhole || faultOfText(contentType) !== undefined)
    bad('encoding has a contentType, encode and decode, or is left out');
}

function refuseBadChoices({ order, onFailure, requires = {} }: ChannelDefinition, bad: Bad): void {
  const choose = (name: string, value: unknown, choices: readonly unknown[]): void => {
    if (value !== undefined && !choices.includes(value))
      bad(`${name} is ${choices.map(shown).join(', ')}, or left out, not ${shown(value)}`);
  };
  choose('order', order, ORDERS);
  choose('onFailure', onFailure, FAILURE_ORDERS);
  choose('requires.confirm', requires.confirm, DURABILITIES);
  choose('requires.routing', requires.routing, ROUTINGS);
  for (const name of YES) choose(`requires.${name}`, requires[name], [true]);
  const { emulation } = requires;
  if (emulation === undefined) return;
  if (!Array.isArray(emulation)) bad(`requires.emulation is a list, not ${shown(emulation)}`);
  for (const feature of emulation) choose('each of requires.emulation', feature ?? null, EMULATED);
}

function refuseBadSizes(what: string, requires: ChannelRequirements, bad: Bad): void {
  for (const feature of Object.keys(SIZES) as (keyof typeof SIZES)[]) {
    const asked: unknown = requires[feature];
    if (asked === undefined) continue;
    const { name, rule, example } = SIZES[feature];
    if (!isObject(asked) || Object.keys(asked as object).some((other) => other !== name))
      bad(`requires.${feature} is written ${example}, not ${shown(asked)}`);
    const given = { [`requires.${feature}.${name}`]: (asked as Readonly<Record<string, unknown>>)[name] };
    refuseBadNumbers(what, given, { [`requires.${feature}.${name}`]: rule });
  }
}

function refuseBadUpcasters({ version, upcasters }: ChannelDefinition, bad: Bad): void {
  if (upcasters === undefined) return;
  if (!isObject(upcasters)) bad('upcasters are functions by the older version, or left out');
  for (const [from, upcaster] of Object.entries(upcasters))
    if (!/^[1-9]\d*$/.test(from) || typeof upcaster !== 'function')
      bad(`upcasters are functions by the older version, a whole number from 1: ${shown(from)} is none`);
  const from = Object.keys(upcasters).map(Number);
  const first = from.reduce((least, one) => Math.min(least, one), version);
  for (let at = first; at < version; at += 1)
    if (!upcasters[at]) bad(`upcasters lead from version ${first} to ${version}, but not from ${at}`);
  const beyond = from.find((at) => at >= version);
  if (beyond !== undefined) bad(`an upcaster from version ${beyond} leads beyond version ${version}`);
}

function refuseContradictions({ name, order, onFailure, requires }: ChannelDefinition): void {
  const contradiction = (detail: string): never => {
    throw new MessagingError('DB_MSG_CHANNEL_CONTRADICTION', `channel "${name}": ${detail}`);
  };
  if (order === 'key' && requires?.priority)
    contradiction('order per key and priority exclude each other: a priority overtakes');
  if (order === 'key' && requires?.delay)
    contradiction('order per key and delay exclude each other: a delayed message is overtaken');
  if (order === 'key' && requires?.routing)
    contradiction(
      'order per key and routing exclude each other: a key has one place, a routing key may have many',
    );
  if (requires?.broadcast) refuseBroadcastWith(order, requires, contradiction);
  if (order !== 'key' && onFailure !== undefined && onFailure !== 'skip') {
    contradiction(
      `onFailure "${onFailure}" needs order: 'key'; without order there is nothing behind a message`,
    );
  }
}

/** What rests on a message being kept, or on one consumer having it to himself. */
function refuseBroadcastWith(
  order: ChannelDefinition['order'],
  { confirm, delay, priority, replay, routing, deadLetters }: ChannelRequirements,
  contradiction: (detail: string) => never,
): void {
  const others: readonly (readonly [asked: unknown, name: string, why: string])[] = [
    [order === 'key', 'order per key', 'every consumer hears every message, so no key has a place'],
    [deadLetters, 'dead letters', 'nothing is kept that could be redriven'],
    [delay, 'delay', 'what is not due would have to be kept'],
    [priority, 'priority', 'nothing waits that could be overtaken'],
    [replay, 'replay', 'nothing is kept that could be read again'],
    [routing, 'routing', 'nobody is left out'],
    [
      confirm !== undefined && confirm !== 'none',
      `confirm: '${confirm}'`,
      'nothing is kept that could be vouched for',
    ],
  ];
  for (const [asked, name, why] of others)
    if (asked)
      contradiction(
        `broadcast and ${name} exclude each other: ${why}. Drop one of them, or give each consumer a subscription name of its own on a channel without broadcast`,
      );
}

/** As it stands in a sentence: a text in quotes, so that `'false'` is told from `false`. */
function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  return isObject(value) ? (Array.isArray(value) ? 'a list' : 'an object') : String(value);
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}
