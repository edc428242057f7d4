/** The scripts of the engine on lists, by name. */
import type { RedisClient } from '../../redis/client.ts';
import {
  listsAdopt,
  listsClaim,
  listsDeclare,
  listsExtend,
  listsInspect,
  listsPeek,
  listsPublish,
  listsRemove,
  listsSettle,
  listsTidy,
  listsUnpark,
} from './lua/lists.ts';
import { ScriptRunner, type Scripts, scriptsOf } from '../../redis/script-runner.ts';

const withoutMemory = {
  listsAdopt,
  listsClaim,
  listsExtend,
  listsInspect,
  listsPeek,
  listsRemove,
  listsSettle,
  listsTidy,
  listsUnpark,
};
const withMemory = { listsDeclare, listsPublish };

export type ListsScriptName = keyof typeof withoutMemory | keyof typeof withMemory;
export type ListsScripts = ScriptRunner<ListsScriptName>;

const scripts: Scripts = new Map([
  ...scriptsOf(withoutMemory, '', false),
  ...scriptsOf(withMemory, '', true),
]);

export const listsScriptTexts = (): readonly string[] => [...scripts.values()].map(({ text }) => text);

export const listsScripts = (client: RedisClient, prefix: string): ListsScripts =>
  new ScriptRunner<ListsScriptName>(client, prefix, scripts);
