/** The Kafka engine's fixture for the conformance suite: a prefix of its own, every topic and group deleted at the end. The server is `KAFKA_URL`. */
import { subscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { Admin, Producer } from '@platformatic/kafka';
import { systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { type OwnDefect, plantOwn } from './own-defects.ts';
import { createKafkaEngine, type KafkaEngineOptions } from './engine.ts';

const ids = createIds(systemClock);

export const kafkaUrl = process.env.KAFKA_URL;

/**
 * "Oldest first" holds within a partition, so channels whose cases ask for it have one; those with order per key have three. The session is short
 * so that a killed process is missed soon (the test broker allows half a second).
 */
const KEYED = new Set(['conformance.skipping', 'conformance.blocking', 'conformance.sequenced']);
const forTests = {
  partitions: (channel: string) => (KEYED.has(channel) ? 3 : 1),
  sessionTimeoutMs: 1_500,
  heartbeatMs: 200,
};

export interface KafkaFixture extends EngineFixture {
  readonly prefix: string;
  readonly engine: (options?: Partial<KafkaEngineOptions>) => Engine;
  /** Of a child process whose engine has these options. */
  readonly childArgument: (options?: Partial<KafkaEngineOptions>) => string;
}

/** What a child process of the kill cases opens: the argument is the prefix, what is planted in that process, and options as JSON, between bars. */
export function openEngine(argument: string): Engine {
  const [prefix = '', defect = '', options = '{}'] = argument.split('|');
  if (defect !== '') plantOwn(defect as OwnDefect);
  const given = JSON.parse(options) as Partial<KafkaEngineOptions>;
  return createKafkaEngine({ url: kafkaUrl ?? '', prefix, ...forTests, ...given });
}

export async function createKafkaFixture(url = kafkaUrl ?? '', defect = ''): Promise<KafkaFixture> {
  const prefix = `t-${ids.next()}.`;
  const engine = (options: Partial<KafkaEngineOptions> = {}): Engine =>
    createKafkaEngine({ url, prefix, ...forTests, ...options });
  const childArgument = (options: Partial<KafkaEngineOptions> = {}): string =>
    `${prefix}|${defect}|${JSON.stringify(options)}`;
  return {
    prefix,
    engine,
    childArgument,
    open: () => engine(),
    child: { module: new URL(import.meta.url), argument: childArgument() },
    breakConnections: () => breakConnections(url),
    injectRaw: (channel, payload) => produceRaw(url, `${prefix}${channel}`, payload),
    destroy: () => removeAll(url, prefix),
  };
}

/** Sockets of this process, kept so that they can be broken: brokers name their own addresses, so no door can be put before them. */
const sockets = new Set<Socket>();
subscribe('net.client.socket', (message) => {
  const { socket } = message as { socket: Socket };
  sockets.add(socket);
  socket.once('close', () => sockets.delete(socket));
});

async function breakConnections(url: string): Promise<number> {
  const ports = url.split(',').map((one) => Number(new URL(one.replace(/^(kafka:\/\/)?/, 'kafka://')).port));
  const theirs = [...sockets].filter(
    ({ remotePort }) => remotePort !== undefined && ports.includes(remotePort),
  );
  for (const socket of theirs) socket.resetAndDestroy();
  return theirs.length;
}

async function produceRaw(url: string, topic: string, payload: string): Promise<void> {
  const producer = new Producer(clientOf(url));
  try {
    await producer.send({ messages: [{ topic, partition: 0, value: Buffer.from(payload) }], acks: -1 });
  } finally {
    await producer.close();
  }
}

export function clientOf(url: string): { clientId: string; bootstrapBrokers: string[] } {
  return { clientId: 'test', bootstrapBrokers: url.split(',').map((one) => one.replace('kafka://', '')) };
}

const MOST_REMOVALS = 3;

/** A topic that its owner was just deleting is listed and is not there any more: all are refused for it, so what is left is listed anew. */
async function removeTopics(admin: Admin, prefix: string): Promise<void> {
  for (let removals = 1; ; removals += 1) {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix));
    try {
      if (topics.length > 0) await admin.deleteTopics({ topics });
      return;
    } catch (error) {
      if (removals === MOST_REMOVALS) throw error;
    }
  }
}

async function removeAll(url: string, prefix: string): Promise<void> {
  const admin = new Admin(clientOf(url));
  try {
    await removeTopics(admin, prefix);
    const groups = [...(await admin.listGroups()).keys()].filter((group) => group.startsWith(prefix));
    if (groups.length > 0) await admin.deleteGroups({ groups }).catch(() => {});
  } finally {
    await admin.close();
  }
}
