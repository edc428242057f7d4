/** Runs scripts by their digest. Each runs alone on the server, which keeps it by digest until it restarts or is told to forget. Which scripts there are, each engine says. */
import { createHash } from 'node:crypto';
import type { RedisClient } from './client.ts';

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

export class ScriptRunner<Name extends string, PlainName extends string = never> {
  readonly prefix: string;
  readonly #client: RedisClient;
  readonly #scripts: Scripts;

  constructor(client: RedisClient, prefix: string, scripts: Scripts) {
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
    name: PlainName,
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
