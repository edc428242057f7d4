/**
 * Who is there. Every connection writes a beat; one whose beat stands still is gone only when the server has no connection of its name
 * either: a process that stands still for a while keeps its connection, and one that reconnects beats again. What a gone one held is then
 * handed out at once, counted as abandoned, instead of after its leases. A machine that vanished without closing its connections is left to them.
 */
import type { CancelTimer, Clock } from '../../clock.ts';
import type { RedisClient } from './client.ts';
import type { ScriptRunner } from './scripts.ts';

export interface PresenceParts {
  readonly scripts: ScriptRunner;
  readonly client: RedisClient;
  readonly clock: Clock;
  readonly instance: string;
  /** Every so often, with the rest of the housekeeping. */
  readonly onBeat: (count: number) => Promise<void>;
}

const BEAT_MS = 1_000;
/** Seen standing still by this process for so long; longer than a reconnect takes. */
const STILL_MS = 2_500;

/** Name of a connection on the server. */
export const connectionName = (instance: string): string => `doorbuster-${instance}`;
/** Beginning of the names of its consumers in the groups. */
export const consumersOf = (instance: string): string => `${OURS}${instance}:`;
/** Beginning of the names of all consumers of this toolkit. */
export const OURS = 'doorbuster:';

export class Presence {
  readonly #parts: PresenceParts;
  readonly #still = new Map<string, { readonly beat: string; readonly since: number }>();
  #count = 0;
  #cancel: CancelTimer = () => {};
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    await this.#beat();
    this.#plan();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#running;
  }

  #plan(): void {
    if (this.#stopped) return;
    this.#cancel = this.#parts.clock.setTimer(BEAT_MS, () => {
      this.#running = this.#beat()
        .then(() => this.#parts.onBeat(this.#count))
        // Out of reach for now: the next beat tries again.
        .catch(() => {})
        .finally(() => this.#plan());
    });
  }

  async #beat(): Promise<void> {
    const { scripts, instance, clock } = this.#parts;
    this.#count += 1;
    const all = (await scripts.run('beat', [instance])) as readonly (readonly [string, string])[];
    const now = clock.monotonic();
    const seen = new Set(all.map(([name]) => name));
    for (const name of this.#still.keys()) if (!seen.has(name)) this.#still.delete(name);
    const suspects: [string, string][] = [];
    for (const [name, beat] of all) {
      const before = this.#still.get(name);
      if (name === instance || !before || before.beat !== beat) this.#still.set(name, { beat, since: now });
      else if (now - before.since >= STILL_MS) suspects.push([name, beat]);
    }
    if (suspects.length > 0) await this.#bury(suspects);
  }

  async #bury(suspects: readonly (readonly [string, string])[]): Promise<void> {
    const list = String(await this.#parts.client.send(['CLIENT', 'LIST', 'TYPE', 'normal']));
    for (const [name, beat] of suspects) {
      if (list.includes(` name=${connectionName(name)} `)) continue;
      await this.#buryOne(name, beat);
    }
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
