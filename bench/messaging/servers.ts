/** The servers of the messaging bench: where they are, the two Redis that BullMQ runs on, and how what was made on the ones that others use is removed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Admin } from '@platformatic/kafka';
import { connect } from 'amqplib';
import { createClient } from 'redis';
import { startedIn, urlsOf } from '../../scripts/services/records.ts';

const services = fileURLToPath(new URL('../../.cache/services', import.meta.url));

/** Addresses from the environment, else of what `npm run services:up` has running. */
export function serverUrls(): Readonly<Record<string, string | undefined>> {
  return { ...urlsOf(startedIn(services)), ...process.env };
}

export const hasRedisProgram = (): boolean => spawnSync('redis-server', ['--version']).status === 0;

/** How often Redis syncs its append-only file: before each answer, or each second. */
export type RedisSync = 'always' | 'everysec';

export interface OwnRedis {
  readonly url: string;
  stop(): Promise<void>;
}

const host = '127.0.0.1';
const startMs = 10_000;

export async function startRedis(folder: string, sync: RedisSync): Promise<OwnRedis> {
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  const args = ['--port', String(port), '--bind', host, '--dir', folder, '--save', ''];
  const durable = ['--appendonly', 'yes', '--appendfsync', sync];
  const server = spawn('redis-server', [...args, ...durable], { stdio: 'ignore' });
  const url = `redis://${host}:${port}`;
  await answers(url, server);
  return {
    url,
    async stop() {
      if (server.exitCode !== null || server.signalCode !== null) return;
      const exit = once(server, 'exit');
      server.kill('SIGKILL');
      await exit;
    },
  };
}

async function answers(url: string, server: ChildProcess): Promise<void> {
  const end = performance.now() + startMs;
  for (;;) {
    const client = createClient({ url, socket: { reconnectStrategy: false } });
    client.on('error', () => {});
    try {
      await client.connect();
      client.destroy();
      return;
    } catch (error) {
      if (server.exitCode !== null || performance.now() > end) throw error;
      await sleep(20);
    }
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, host, () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

export async function removeRedisKeys(url: string, prefix: string): Promise<void> {
  // A server that is not there is told at once; by default the client tries for ever.
  const client = createClient({ url, RESP: 2, socket: { reconnectStrategy: false } });
  client.on('error', () => {});
  await client.connect();
  let cursor = '0';
  do {
    const page = (await client.sendCommand(['SCAN', cursor, 'MATCH', `${prefix}*`, 'COUNT', '1000'])) as [
      string,
      string[],
    ];
    if (page[1].length > 0) await client.sendCommand(['UNLINK', ...page[1]]);
    cursor = page[0];
  } while (cursor !== '0');
  client.destroy();
}

export async function removeKafkaTopics(url: string, prefix: string): Promise<void> {
  const admin = new Admin({ clientId: 'bench', bootstrapBrokers: [new URL(url).host] });
  try {
    const topics = (await admin.listTopics()).filter((name) => name.startsWith(prefix));
    if (topics.length > 0) await admin.deleteTopics({ topics });
  } finally {
    await admin.close();
  }
}

const rungs = 24;
/** Queues of a subscription on a channel with order per key, by default. */
const partitions = 8;

/** What the RabbitMQ engine makes for one channel and subscription. To delete what is not there is no error. */
export async function removeRabbitNames(
  url: string,
  { prefix, channel, subscription }: { prefix: string; channel: string; subscription: string },
): Promise<void> {
  const queue = `${prefix}${channel}/s/${subscription}`;
  const made = [`${prefix}${channel}`, `${prefix}${channel}/unclaimed`, `${prefix}/hints`];
  const perKey = Array.from({ length: partitions }, (_, index) => `${queue}/${index}`);
  const notes = [`${queue}/notes`, ...perKey.map((_, index) => `${queue}/notes/${index}`)];
  const mark = `${prefix}${channel}/partitions`;
  await removeNames(url, [...made, queue, ...perKey, ...notes, mark, `${queue}/dead`, `${queue}/bindings`]);
}

/** The delay ladder that the engines of one run share. */
export async function removeRabbitLadder(url: string, ladderPrefix: string): Promise<void> {
  const rungNames = Array.from({ length: rungs }, (_, index) => `${ladderPrefix}delay/${rungs - 1 - index}`);
  const ends = ['out', 'lost', 'whole'].map((name) => `${ladderPrefix}delay/${name}`);
  await removeNames(url, [...rungNames, ...ends]);
}

async function removeNames(url: string, names: readonly string[]): Promise<void> {
  const model = await connect(url);
  try {
    const channel = await model.createChannel();
    for (const name of names) {
      await channel.deleteQueue(name);
      await channel.deleteExchange(name);
    }
  } finally {
    await model.close();
  }
}
