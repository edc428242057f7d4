/**
 * What this server really is: its version, and what a reply from it is worth. A confirmation states `disk` only with the append-only file
 * synced at every write; else `memory`, because a second of it, or all, goes with the machine. Nothing here is ever `replicated`: replication is
 * asynchronous, and a failover may forget what was confirmed.
 */
import type { Durability } from '../channel.ts';
import { MessagingError } from '../errors.ts';
import type { RedisClient } from './client.ts';

export interface Probe {
  readonly version: string;
  readonly confirm: Durability;
}

/** Lag of groups, flags of scripts and claiming with a count came by then. */
const LEAST_MAJOR = 7;

/** Rejects with DB_MSG_ENGINE_UNSAFE when the server would lose messages by its settings. */
export async function probe(client: RedisClient): Promise<Probe> {
  const info = parseInfo(String(await client.send(['INFO'])));
  const version = info.get('redis_version') ?? '0';
  const unsafe = (detail: string): never => {
    throw new MessagingError('DB_MSG_ENGINE_UNSAFE', `redis ${version}: ${detail}`);
  };
  if (Number.parseInt(version, 10) < LEAST_MAJOR) unsafe(`version ${LEAST_MAJOR} or later is needed`);
  if (info.get('cluster_enabled') === '1')
    unsafe('a cluster is not supported: one step touches keys of several slots');
  if (info.get('role') === 'slave') unsafe('this is a replica, which takes no writes');
  const policy = info.get('maxmemory_policy') ?? 'noeviction';
  if (policy.startsWith('allkeys') && info.get('maxmemory') !== '0')
    unsafe(`maxmemory-policy ${policy} deletes streams when memory is short; noeviction is needed`);
  return { version, confirm: await confirmOf(client) };
}

/** What a write is worth now: an operator may change it while the server runs. */
export async function confirmOf(client: RedisClient): Promise<Durability> {
  try {
    const reply = (await client.send(['CONFIG', 'GET', 'append*'])) as readonly string[];
    const config = new Map<string, string>();
    for (let index = 0; index + 1 < reply.length; index += 2)
      config.set(String(reply[index]), String(reply[index + 1]));
    return config.get('appendonly') === 'yes' && config.get('appendfsync') === 'always' ? 'disk' : 'memory';
  } catch (error) {
    if ((error as { retryable?: boolean }).retryable) throw error;
    // CONFIG is forbidden or renamed, as hosted servers like it: what cannot be seen is not claimed.
    return 'memory';
  }
}

function parseInfo(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) found.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return found;
}
