/**
 * What host and clients say to each other, and the check of everything a client says: the host hands operations to the one writer of the
 * file, where a value of the wrong type would end the engine for everybody.
 */
import Type, { type TSchema } from 'typebox';
import { type Check, compileCheck } from '../../../contract.ts';
import type { Durability } from '../../../channel.ts';
import type { MessagingErrorCode } from '../../../errors.ts';
import type { HandOut, Operation, OperationResult } from '../turn.ts';

/** Both ends have to speak the same one; there is no negotiation, because the processes of one machine are one deployment. */
export const PROTOCOL = 1;
/** Largest frame a host takes. */
export const CLIENT_FRAME_BYTES = 64 * 2 ** 20;
/** Largest frame a client takes: a page of dead letters may be large. */
export const HOST_FRAME_BYTES = 256 * 2 ** 20;

export type ClientSays =
  | { readonly hello: { readonly protocol: number } }
  | { readonly turn: number; readonly operations: readonly Operation[] };

export interface Welcome {
  readonly protocol: number;
  readonly durability: Durability;
  readonly maxMessageBytes: number;
}

export type HostSays =
  | { readonly welcome: Welcome }
  | { readonly refused: { readonly code: MessagingErrorCode; readonly message: string } }
  | { readonly turn: number; readonly results: readonly OperationResult[] }
  | { readonly handOuts: readonly { readonly consumer: number; readonly items: readonly HandOut[] }[] };

const object = (properties: Record<string, TSchema>): TSchema =>
  Type.Object(properties, { additionalProperties: false });
const oneOf = (...texts: readonly string[]): TSchema => Type.Union(texts.map((text) => Type.Literal(text)));
const orNull = (schema: TSchema): TSchema => Type.Union([schema, Type.Null()]);
const text = Type.String();
const whole = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
/** ms since the epoch. The columns of the store take no other numbers. */
const time = Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER });
const texts = Type.Record(Type.String(), Type.String());

const binding = Type.Union([text, object({ match: oneOf('all', 'any'), headers: texts })]);
const name = { channel: text, name: text };
const topology = object({
  channels: Type.Array(
    object({
      name: text,
      order: oneOf('none', 'key'),
      onFailure: oneOf('skip', 'blockKey', 'sequencedDlq'),
      priorityLevels: Type.Integer({ minimum: 1, maximum: 10 }),
      ephemeral: Type.Boolean(),
      routing: oneOf('fanout', 'direct', 'topic', 'headers'),
      keepMs: Type.Optional(Type.Number({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    }),
  ),
  subscriptions: Type.Array(object({ ...name, bindings: Type.Optional(Type.Array(binding)) })),
  removed: Type.Optional(Type.Array(object(name))),
});
const row = object({
  channel: text,
  level: whole,
  key: orNull(text),
  expiresAt: orNull(time),
  dueAt: orNull(time),
  body: text,
});
const failure = object({
  attempt: whole,
  at: text,
  kind: oneOf('threw', 'retry', 'deadLetter', 'abandoned', 'malformed', 'invalid', 'redriven'),
  reason: text,
});
const letter = object({
  id: text,
  reason: text,
  group: text,
  at: time,
  history: Type.Array(failure),
  stateOnRedrive: text,
});
const settlement = Type.Union([
  object({ kind: oneOf('ack', 'release'), token: whole }),
  object({ kind: Type.Literal('retry'), token: whole, dueAt: time, state: text }),
  object({ kind: Type.Literal('deadLetter'), token: whole, letter }),
]);
const filter = object({
  channel: Type.Optional(text),
  subscription: Type.Optional(text),
  group: Type.Optional(text),
  key: Type.Optional(text),
  messageIds: Type.Optional(Type.Array(text)),
  before: Type.Optional(Type.Number()),
});
const point = Type.Union([
  oneOf('earliest', 'latest'),
  object({ timeMs: Type.Number() }),
  object({ offset: text }),
]);

/** One schema an operation; a client may say these and no others. */
const operations: Readonly<Record<Exclude<Operation['op'], 'lose' | 'drop'>, Record<string, TSchema>>> = {
  declare: { topology },
  publish: { rows: Type.Array(row) },
  subscribe: {
    consumer: whole,
    channel: text,
    subscription: text,
    prefetch: Type.Integer({ minimum: 1, maximum: 4_000_000 }),
    leaseMs: Type.Number({ exclusiveMinimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  },
  settle: { consumer: whole, settlements: Type.Array(settlement) },
  extend: { consumer: whole, tokens: Type.Array(whole) },
  pause: { consumer: whole },
  leave: { consumer: whole },
  inspect: {},
  peek: { channel: text, subscription: text, limit: whole },
  // An earlier version does not say it, and means it.
  rewind: { channel: text, subscription: text, from: point, dryRun: Type.Optional(Type.Boolean()) },
  listDead: { filter, limit: whole, after: Type.Optional(text) },
  redriveEdited: { id: text, body: text, expiresAt: orNull(time), state: text },
  redrive: { filter, limit: whole },
  discard: { filter, limit: whole },
};

/** Compiled when the first client comes: most processes never host one. */
function compileChecks(): {
  readonly hello: Check;
  readonly turn: Check;
  readonly operations: ReadonlyMap<string, Check>;
} {
  return {
    hello: compileCheck(object({ hello: object({ protocol: whole }) })),
    turn: compileCheck(object({ turn: whole, operations: Type.Array(Type.Unknown()) })),
    operations: new Map(
      Object.entries(operations).map(([op, properties]) => [
        op,
        compileCheck(object({ op: Type.Literal(op), ...properties })),
      ]),
    ),
  };
}

let compiled: ReturnType<typeof compileChecks> | undefined;

/** What a client said, or why it is not understood. */
export function readClient(said: unknown): ClientSays | { readonly fault: string } {
  if (typeof said !== 'object' || said === null) return { fault: 'not an object' };
  compiled ??= compileChecks();
  if ('hello' in said) return faultOf(compiled.hello(said)) ?? (said as ClientSays);
  const fault = faultOf(compiled.turn(said));
  if (fault) return fault;
  const turn = said as Extract<ClientSays, { turn: number }>;
  for (const operation of turn.operations) {
    const check = compiled.operations.get(String((operation as { op?: unknown } | null)?.op));
    const wrong = check ? faultOf(check(operation)) : { fault: 'an operation that is not known' };
    if (wrong) return wrong;
  }
  return turn;
}

/** The checks of JSON Schemas answer at once. */
function faultOf(
  answer: string | undefined | Promise<string | undefined>,
): { readonly fault: string } | undefined {
  return typeof answer === 'string' ? { fault: answer } : undefined;
}
