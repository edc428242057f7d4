/** The scripts of the engine on streams, by name. */
import type { RedisClient } from '../../redis/client.ts';
import { ScriptRunner, type Scripts, scriptsOf } from '../../redis/script-runner.ts';
import { claim } from './lua/claim.ts';
import { discard, redrive, redriveEdited } from './lua/dead-letters.ts';
import { extend } from './lua/extend.ts';
import { inspect } from './lua/inspect.ts';
import { acknowledge, append } from './lua/plain.ts';
import { prelude } from './lua/prelude.ts';
import { beat, forget, forsake, giveUpShards } from './lua/presence.ts';
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
  giveUpShards,
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

const streamScripts: Scripts = new Map([
  ...scriptsOf(withoutMemory, prelude, false),
  ...scriptsOf(withMemory, prelude, true),
  ...scriptsOf({ acknowledge }, '', false),
  ...scriptsOf({ append }, '', true),
]);

/** The texts as the server gets them. */
export const scriptTexts = (): readonly string[] => [...streamScripts.values()].map(({ text }) => text);

/** How a script is known on the wire. */
export const digestOf = (name: ScriptName | PlainScriptName): string => streamScripts.get(name)?.digest ?? '';

export type StreamScripts = ScriptRunner<ScriptName, PlainScriptName>;

export const streamScriptsOn = (client: RedisClient, prefix: string): StreamScripts =>
  new ScriptRunner(client, prefix, streamScripts);
