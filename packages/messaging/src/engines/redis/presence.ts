/**
 * Who is there. Every instance writes a beat, and with it the id of its connection. It is gone
 *
 *   at once             when the server has closed that connection and it shows no other (connection-watch.ts)
 *   after a while       when its beat stands still and the server has no connection of its name either
 *   after a long while  when its beat stands still and the server does not tell of connections (CLIENT LIST is denied by an ACL or hidden by a proxy)
 *
 * A process that stands still for a while keeps its connection, and one that reconnects beats again. What a gone one held is then handed out at once, counted as
 * abandoned, instead of after its leases; should it live, what it settles is refused as with any lost lease. A machine that vanished without closing
 * its connections is left to its leases.
 */
import type { Clock } from '../../clock.ts';
import type { RedisClient } from '../../redis/client.ts';
import { ConnectionWatch } from './connection-watch.ts';
import { allInstancesThere, ownConnection, type Peer } from './peers.ts';
import { Round } from './round.ts';
import type { StreamScripts } from './scripts.ts';

export interface PresenceParts {
  readonly scripts: StreamScripts;
  readonly client: RedisClient;
  readonly clock: Clock;
  readonly instance: string;
  readonly times: PresenceTimes;
  /** Every so often, with the rest of the housekeeping. */
  readonly onBeat: (count: number) => Promise<void>;
}

export interface PresenceTimes {
  readonly beatMs: number;
  /** A beat seen standing still by this process for so long, and no connection: longer than a reconnect takes. */
  readonly stillMs: number;
  /** The same where the server tells of no connections: longer than a process may well stand still. */
  readonly unseenMs: number;
  /** Between two looks at the connections of others. */
  readonly lookMs: number;
  /** How long a closed connection may be without another in its place: a reconnect takes a tenth of it. */
  readonly graceMs: number;
  /** The same for one that has no connection at all: a process that lost all of its connections at once has most likely ended. */
  readonly endedGraceMs: number;
}

export const PRESENCE_TIMES: PresenceTimes = {
  beatMs: 1_000,
  stillMs: 2_500,
  unseenMs: 10_000,
  lookMs: 200,
  graceMs: 500,
  endedGraceMs: 150,
};

/** Beginning of the names of its consumers in the groups. */
export const consumersOf = (instance: string): string => `${OURS}${instance}:`;
/** Beginning of the names of all consumers of this toolkit. */
export const OURS = 'doorbuster:';

export class Presence {
  readonly #parts: PresenceParts;
  readonly #still = new Map<string, { readonly beat: string; readonly since: number }>();
  readonly #watch: ConnectionWatch;
  readonly #rounds: readonly Round[];
  #connection = '';
  #count = 0;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
    const { client, clock, instance, times } = parts;
    const { graceMs, endedGraceMs, stillMs: holdMs, beatMs, lookMs } = times;
    this.#watch = new ConnectionWatch({
      client,
      clock,
      instance,
      graceMs,
      endedGraceMs,
      holdMs,
      census: () => this.#census(),
      onGone: (peer) => this.#bury([peer]),
    });
    this.#rounds = [
      new Round(clock, beatMs, () => this.#beat().then(() => parts.onBeat(this.#count))),
      new Round(clock, lookMs, () => this.#watch.look()),
    ];
  }

  /** Whether the server tells of connections; as of the last beat. */
  get seesConnections(): boolean {
    return this.#connection !== '';
  }

  async start(): Promise<void> {
    await this.#beat();
    for (const round of this.#rounds) round.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#rounds.map((round) => round.stop()));
  }

  async #beat(): Promise<void> {
    const { client, instance, clock, times } = this.#parts;
    this.#count += 1;
    this.#connection = await ownConnection(client, instance);
    const peers = await this.#census();
    const now = clock.monotonic();
    const seen = new Set(peers.map((one) => one.instance));
    for (const name of this.#still.keys()) if (!seen.has(name)) this.#still.delete(name);
    const limitMs = this.seesConnections ? times.stillMs : times.unseenMs;
    const suspects: Peer[] = [];
    for (const peer of peers) {
      const { instance: name, beat } = peer;
      const before = this.#still.get(name);
      if (name === instance || !before || before.beat !== beat) this.#still.set(name, { beat, since: now });
      else if (now - before.since >= limitMs) suspects.push(peer);
    }
    if (suspects.length > 0) await this.#bury(suspects);
  }

  /** Beats, and learns who else has. */
  async #census(): Promise<readonly Peer[]> {
    const { scripts, instance } = this.#parts;
    const all = (await scripts.run('beat', [instance, this.#connection])) as readonly (readonly string[])[];
    const peers = all.map(([name = '', beat = '', connection = '']) => ({
      instance: name,
      beat,
      connection,
    }));
    this.#watch.learn(this.#connection, peers);
    return peers;
  }

  async #bury(suspects: readonly Peer[]): Promise<void> {
    const there = this.seesConnections ? await allInstancesThere(this.#parts.client) : new Set<string>();
    for (const { instance, beat } of suspects) if (!there.has(instance)) await this.#buryOne(instance, beat);
  }

  async #buryOne(name: string, beat: string): Promise<void> {
    const { scripts, client } = this.#parts;
    const channels = (await client.send(['SMEMBERS', `${scripts.prefix}:channels`])) as readonly string[];
    for (const channel of channels) {
      const subscriptions = await subscriptionsOf(client, scripts.prefix, channel);
      for (const one of subscriptions) {
        const subject = [channel, encodeURIComponent(one), one];
        await scripts.run('forsake', [...subject, consumersOf(name), 1, 1, name, beat]);
      }
      const owner = await client.send(['HGET', `${scripts.prefix}:channel:${channel}`, 'owner']);
      if (owner === name) await dropChannel(this.#parts, channel, name);
    }
    await scripts.run('forget', [name, beat]);
    this.#still.delete(name);
  }
}

export async function subscriptionsOf(
  client: RedisClient,
  prefix: string,
  channel: string,
): Promise<readonly string[]> {
  return (await client.send(['SMEMBERS', `${prefix}:subs:${channel}`])) as readonly string[];
}

/** An ephemeral channel goes with its owner, and its subscriptions with it. */
export async function dropChannel(
  { client, scripts }: Pick<PresenceParts, 'client' | 'scripts'>,
  channel: string,
  owner: string,
): Promise<void> {
  const subscriptions = await subscriptionsOf(client, scripts.prefix, channel);
  await scripts.run('removeChannel', [channel, owner]);
  for (const one of subscriptions) await sweepSubscription(client, scripts.prefix, channel, one);
}

/** Deletes the keys of a removed subscription; lanes and parked keys have names of their own, so they are looked for. */
export async function sweepSubscription(
  client: RedisClient,
  prefix: string,
  channel: string,
  subscription: string,
): Promise<void> {
  const base = `${prefix}:sub:${channel}:${encodeURIComponent(subscription)}:`;
  const pattern = `${base.replaceAll(/[\\*?[\]]/g, '\\$&')}*`;
  let cursor = '0';
  do {
    const [next, keys] = (await client.send(['SCAN', cursor, 'MATCH', pattern, 'COUNT', '1000'])) as [
      string,
      readonly string[],
    ];
    if (keys.length > 0) await client.send(['UNLINK', ...keys]);
    cursor = next;
  } while (cursor !== '0');
}
