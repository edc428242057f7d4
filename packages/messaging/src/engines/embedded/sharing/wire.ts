/**
 * What host and clients say to each other, and the check of everything a client says: the host hands operations to the one writer of the
 * file, where a value of the wrong type would end the engine for everybody.
 */
import type { TSchema } from 'typebox';
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

/** Plain JSON Schema: loading typebox to write it would double the time in which a process that uses this engine starts. */
type Shape = Readonly<Record<string, TSchema>>;
const object = (required: Shape, optional: Shape = {}): TSchema => ({
  type: 'object',
  properties: { ...required, ...optional },
  required: Object.keys(required),
  additionalProperties: false,
});
const listOf = (items: TSchema): TSchema => ({ type: 'array', items });
const anyOf = (...schemas: readonly TSchema[]): TSchema => ({ anyOf: schemas });
const oneOf = (...texts: readonly string[]): TSchema => ({ enum: texts });
const orNull = (schema: TSchema): TSchema => anyOf(schema, { type: 'null' });
const text: TSchema = { type: 'string' };
const yesOrNo: TSchema = { type: 'boolean' };
const number: TSchema = { type: 'number' };
const whole: TSchema = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
/** ms since the epoch. The columns of the store take no other numbers. */
const time: TSchema = {
  type: 'integer',
  minimum: Number.MIN_SAFE_INTEGER,
  maximum: Number.MAX_SAFE_INTEGER,
};
const texts: TSchema = { type: 'object', additionalProperties: text };

const binding = anyOf(text, object({ match: oneOf('all', 'any'), headers: texts }));
const name = { channel: text, name: text };
const channel = object(
  {
    name: text,
    order: oneOf('none', 'key'),
    onFailure: oneOf('skip', 'blockKey', 'sequencedDlq'),
    priorityLevels: { type: 'integer', minimum: 1, maximum: 10 },
    ephemeral: yesOrNo,
    routing: oneOf('fanout', 'direct', 'topic', 'headers'),
  },
  { keepMs: { type: 'number', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } },
);
const topology = object(
  { channels: listOf(channel), subscriptions: listOf(object(name, { bindings: listOf(binding) })) },
  { removed: listOf(object(name)) },
);
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
  history: listOf(failure),
  stateOnRedrive: text,
});
const settlement = anyOf(
  object({ kind: oneOf('ack', 'release'), token: whole }),
  object({ kind: oneOf('retry'), token: whole, dueAt: time, state: text }),
  object({ kind: oneOf('deadLetter'), token: whole, letter }),
);
const filter = object(
  {},
  { channel: text, subscription: text, group: text, key: text, messageIds: listOf(text), before: number },
);
const point = anyOf(oneOf('earliest', 'latest'), object({ timeMs: number }), object({ offset: text }));

/** One schema an operation, of what it must and may have; a client may say these and no others. */
const operations: Readonly<Record<Exclude<Operation['op'], 'lose' | 'drop'>, readonly [Shape, Shape?]>> = {
  declare: [{ topology }],
  publish: [{ rows: listOf(row) }],
  subscribe: [
    {
      consumer: whole,
      channel: text,
      subscription: text,
      prefetch: { type: 'integer', minimum: 1, maximum: 4_000_000 },
      leaseMs: { type: 'number', exclusiveMinimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    },
  ],
  settle: [{ consumer: whole, settlements: listOf(settlement) }],
  extend: [{ consumer: whole, tokens: listOf(whole) }],
  pause: [{ consumer: whole }],
  leave: [{ consumer: whole }],
  inspect: [{}],
  peek: [{ channel: text, subscription: text, limit: whole }],
  // An earlier version does not say whether it is a dry run, and means that it is none.
  rewind: [{ channel: text, subscription: text, from: point }, { dryRun: yesOrNo }],
  listDead: [{ filter, limit: whole }, { after: text }],
  redriveEdited: [{ id: text, body: text, expiresAt: orNull(time), state: text }],
  redrive: [{ filter, limit: whole }],
  discard: [{ filter, limit: whole }],
};

/** Compiled when the first client comes: most processes never host one. */
function compileChecks(): {
  readonly hello: Check;
  readonly turn: Check;
  readonly operations: ReadonlyMap<string, Check>;
} {
  return {
    hello: compileCheck(object({ hello: object({ protocol: whole }) })),
    turn: compileCheck(object({ turn: whole, operations: listOf({}) })),
    operations: new Map(
      Object.entries(operations).map(([op, [required, optional]]) => [
        op,
        compileCheck(object({ op: oneOf(op), ...required }, optional)),
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
