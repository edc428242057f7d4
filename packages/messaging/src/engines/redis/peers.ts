/** What the server says of its connections (CLIENT LIST), which is the only one to know at once that a process has ended. */
import type { RedisClient } from '../../redis/client.ts';

/** Name of an instance's connections on the server. */
export const connectionName = (instance: string): string => `doorbuster-${instance}`;

export interface Peer {
  readonly instance: string;
  /** As it stands on the server; a new one means that it was alive. */
  readonly beat: string;
  /** Id of its main connection; empty when it has none to show. */
  readonly connection: string;
}

/**
 * The id of this connection when the server tells of connections, else empty: who may not ask (ACL), or whose proxy answers with something else, does not find
 * itself in the list.
 */
export async function ownConnection(client: Pick<RedisClient, 'send'>, instance: string): Promise<string> {
  try {
    const connection = String(await client.send(['CLIENT', 'ID']));
    const there = await instancesThere(client, [connection]);
    return there.has(instance) ? connection : '';
  } catch (error) {
    if ((error as { retryable?: boolean }).retryable) throw error;
    return '';
  }
}

/** The instances that hold one of these connections now. Costs the server one line each. */
export async function instancesThere(
  client: Pick<RedisClient, 'send'>,
  connections: readonly string[],
): Promise<ReadonlySet<string>> {
  return instancesIn(await client.send(['CLIENT', 'LIST', 'ID', ...connections]));
}

/** All instances that hold a connection of whatever kind. Costs the server a line for each connection it has. */
export async function allInstancesThere(client: Pick<RedisClient, 'send'>): Promise<ReadonlySet<string>> {
  return instancesIn(await client.send(['CLIENT', 'LIST']));
}

function instancesIn(list: unknown): ReadonlySet<string> {
  const names = String(list).matchAll(/ name=doorbuster-(\S+) /g);
  return new Set(Array.from(names, ([, instance]) => instance as string));
}

/**
 * Whom an instance watches: those that come behind it in the order of their names, the first again behind the last. Each is watched by `count` others, however
 * many there are, and when some end together those in front of them watch the next as soon as they are gone.
 */
export function watchedBy(instance: string, peers: readonly Peer[], count: number): readonly Peer[] {
  const others = peers
    .filter((one) => one.instance !== instance && one.connection !== '')
    .toSorted((a, b) => (a.instance < b.instance ? -1 : 1));
  const behind = others.findIndex((one) => one.instance > instance);
  const from = Math.max(behind, 0);
  return [...others.slice(from), ...others.slice(0, from)].slice(0, count);
}
