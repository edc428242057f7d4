/** Runs the scripts by their digest. Each runs alone on the server, which keeps it by digest until it restarts or is told to forget. */
import { createHash } from 'node:crypto';
import type { RedisClient } from './client.ts';
import { claim } from './lua/claim.ts';
import { discard, redrive, redriveEdited } from './lua/dead-letters.ts';
import { extend } from './lua/extend.ts';
import { inspect } from './lua/inspect.ts';
import { acknowledge, append } from './lua/plain.ts';
import { prelude } from './lua/prelude.ts';
import { beat, forget, forsake } from './lua/presence.ts';
import { publish } from './lua/publish.ts';
import { peekDue, rewind } from './lua/replay.ts';
import { settle } from './lua/settle.ts';
import { declareChannel, declareSubscription, removeChannel, removeSubscription } from './lua/topology.ts';
import { trim } from './lua/trim.ts';

/**
 * What takes messages away has to run on a server whose memory is full, or it would stay full; and so has what a consumer needs to begin, which is a few
 * hundred bytes for each channel and subscription.
 */
const withoutMemory = {
  claim,
  settle,
  extend,
  beat,
  forget,
  forsake,
  trim,
  declareChannel,
  declareSubscription,
  redrive,
  redriveEdited,
  discard,
  peekDue,
  rewind,
  inspect,
  removeChannel,
  removeSubscription,
};
const withMemory = { publish };
/** These have no prelude and name their own keys. */
const plain = { append, acknowledge };

export type ScriptName = keyof typeof withoutMemory | keyof typeof withMemory;
export type PlainScriptName = keyof typeof plain;

export interface Script {
  readonly text: string;
  readonly digest: string;
}

/** By name. */
export type Scripts = ReadonlyMap<string, Script>;

/** Of texts with one beginning; `denyOom` are those that the server refuses, whole, when its memory is full. */
export function scriptsOf(
  texts: Readonly<Record<string, string>>,
  before: string,
  denyOom: boolean,
): Scripts {
  const flags = denyOom ? '' : ' flags=allow-oom';
  return new Map(
    Object.entries(texts).map(([name, text]) => {
      const whole = `#!lua${flags}\n${before}\n${text}`;
      return [name, { text: whole, digest: createHash('sha1').update(whole).digest('hex') }];
    }),
  );
}

const streamScripts: Scripts = new Map([
  ...scriptsOf(withoutMemory, prelude, false),
  ...scriptsOf(withMemory, prelude, true),
  ...scriptsOf({ acknowledge }, '', false),
  ...scriptsOf({ append }, '', true),
]);

/** The texts as the server gets them. */
export const scriptTexts = (): readonly string[] => [...streamScripts.values()].map(({ text }) => text);

export class ScriptRunner<Name extends string = ScriptName> {
  readonly prefix: string;
  readonly #client: RedisClient;
  readonly #scripts: Scripts;

  constructor(client: RedisClient, prefix: string, scripts: Scripts = streamScripts) {
    this.#client = client;
    this.prefix = prefix;
    this.#scripts = scripts;
  }

  /** The reply as the server gave it; each caller knows its script's. */
  run(name: Name, args: readonly (string | number)[]): Promise<unknown> {
    return this.#evaluate(name, ['1', this.prefix, ...args.map(String)], this.#client);
  }

  /** With the number of keys first, then keys and arguments, all of them texts; on another connection where one is given. */
  runPlain(
    name: PlainScriptName,
    args: readonly string[],
    client: Pick<RedisClient, 'send'> = this.#client,
  ): Promise<unknown> {
    return this.#evaluate(name, args, client);
  }

  async #evaluate(
    name: string,
    tail: readonly string[],
    client: Pick<RedisClient, 'send'>,
  ): Promise<unknown> {
    const { text, digest } = this.#scripts.get(name) as Script;
    try {
      return await client.send(['EVALSHA', digest, ...tail]);
    } catch (error) {
      if (!/NOSCRIPT/.test((error as Error).message)) throw error;
      return client.send(['EVAL', text, ...tail]);
    }
  }

  /** So that the first calls need not carry the texts, and keep their order. */
  async load(): Promise<void> {
    await Promise.all(
      [...this.#scripts.values()].map(({ text }) => this.#client.send(['SCRIPT', 'LOAD', text])),
    );
  }
}
