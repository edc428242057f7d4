/** What the broadcast engine does, what it loses, and what it refuses, on the server that REDIS_URL names. */
import { spawnSync } from 'node:child_process';
import { createClient } from 'redis';
import Type from 'typebox';
import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { type Channel, defineChannel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { blocking, delayed, expiring, plain, ranked, sequenced } from '../../conformance/channels.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import type { Delivery } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { ack, deadLetter, retry } from '../../outcome.ts';
import { hasServerProgram, startOwnServer } from '../../redis/testing/own-server.ts';
import { createRedisBroadcastEngine, type RedisBroadcastNotice } from './engine.ts';

const url = process.env['REDIS_URL'];
const confirmed = defineChannel({
  name: 'confirmed',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  requires: { confirm: 'memory' },
});
const prefix = `broadcast-${createIds(systemClock).next()}`;
const buses: Bus[] = [];

afterEach(async () => {
  for (const bus of buses.splice(0)) await bus.stop({ drainMs: 100 });
});

async function busOn(
  channels: readonly Channel[] = [plain],
  onNotice?: (notice: RedisBroadcastNotice) => void,
  server = url ?? '',
): Promise<Bus> {
  const engine = createRedisBroadcastEngine({ url: server, prefix, ...(onNotice && { onNotice }) });
  const bus = createBus({ engine, source: '/broadcast' });
  buses.push(bus);
  bus.declare(channels);
  await bus.start();
  return bus;
}

async function hearOn(bus: Bus, name = 'one'): Promise<Collector<number>> {
  const heard = new Collector<number>();
  await bus.subscribe(plain, {
    name,
    handler: ({ data }) => {
      heard.add(data.n);
      return ack();
    },
  }).started;
  return heard;
}

/** Runs commands as any other user of the server would. */
async function raw(...args: readonly string[]): Promise<unknown> {
  const client = createClient({ url: url ?? '', RESP: 2 });
  await client.connect();
  const reply: unknown = await client.sendCommand(args);
  await client.close();
  return reply;
}

describe.skipIf(!url)('Redis Pub/Sub, the broadcast engine (set REDIS_URL to run it)', () => {
  it('is heard by every subscriber, also by two of one name, in the order of publishing', async () => {
    const first = await hearOn(await busOn());
    const second = await hearOn(await busOn());
    const speaker = await busOn();
    for (const n of [1, 2, 3]) await speaker.publish(plain, { n });
    expect(await first.waitFor(3)).toEqual([1, 2, 3]);
    expect(await second.waitFor(3)).toEqual([1, 2, 3]);
  });

  it('confirms with durability none, and loses what nobody hears', async () => {
    const speaker = await busOn();
    expect((await speaker.publish(plain, { n: 1 })).durability).toBe('none');
    const heard = await hearOn(await busOn());
    await speaker.publish(plain, { n: 2 });
    await heard.waitFor(1);
    expect(heard.values).toEqual([2]);
  });

  it.each([sequenced, blocking, delayed, ranked, expiring, confirmed])(
    'refuses the start with a channel that requires more: $name',
    async (channel) => {
      await expect(busOn([channel as Channel])).rejects.toMatchObject({
        code: 'DB_MSG_UNSUPPORTED_CAPABILITY',
        engine: 'redis-pubsub',
      });
    },
  );

  it('refuses a due time, a priority and order also where the bus does not ask', async () => {
    const connection = await createRedisBroadcastEngine({ url: url ?? '', prefix }).connect({
      clock: systemClock,
      onFatal: () => {},
    });
    const message = { id: 'm', type: 't', version: 1, source: '/s', time: '', data: 1, headers: {} };
    const refusal = { code: 'DB_MSG_UNSUPPORTED_CAPABILITY' };
    await expect(connection.publish([{ channel: 't', message, dueAt: 1 }])).rejects.toMatchObject(refusal);
    await expect(connection.publish([{ channel: 't', message, priority: 1 }])).rejects.toMatchObject(refusal);
    const spec = {
      name: 't',
      onFailure: 'skip',
      ephemeral: false,
      routing: 'fanout',
      keepMs: undefined,
    } as const;
    for (const more of [
      { order: 'key', priorityLevels: 1 },
      { order: 'none', priorityLevels: 2 },
    ] as const)
      await expect(
        connection.declare({ channels: [{ ...spec, ...more }], subscriptions: [] }),
      ).rejects.toMatchObject(refusal);
    await connection.close();
  });

  it('retries from memory with the attempt counted, and tells a dead letter, which nobody keeps', async () => {
    const told = new Collector<RedisBroadcastNotice>();
    const bus = await busOn([plain], (notice) => told.add(notice));
    const attempts = new Collector<number>();
    await bus.subscribe(plain, {
      name: 'one',
      retries: { immediate: 0, delayed: [10] },
      handler: (_, { attempt }) => {
        attempts.add(attempt);
        return attempt === 1 ? retry() : deadLetter('of no use');
      },
    }).started;
    await bus.publish(plain, { n: 1 });
    expect(await attempts.waitFor(2)).toEqual([1, 2]);
    expect(await told.waitFor(1)).toEqual([
      { kind: 'lost', channel: plain.name, subscription: 'one', reasons: ['of no use'] },
    ]);
    expect(await bus.deadLetters.list()).toEqual([]);
  });

  it('settles what comes with a dead letter, which is not the failure of the others', async () => {
    const told = new Collector<RedisBroadcastNotice>();
    const options = { url: url ?? '', prefix, onNotice: (one: RedisBroadcastNotice) => told.add(one) };
    const context = { clock: systemClock, onFatal: () => {} };
    const connection = await createRedisBroadcastEngine(options).connect(context);
    try {
      const out = new Collector<Delivery>();
      const spec = { channel: 'together', subscription: 'one', prefetch: 10, leaseMs: 1_000 };
      const consumer = await connection.subscribe(spec, (deliveries) =>
        deliveries.forEach((one) => out.add(one)),
      );
      for (const id of ['a', 'b', 'c']) {
        const message = { id, type: 't', version: 1, source: '/s', time: '', data: 1, headers: {} };
        await connection.publish([{ channel: 'together', message }]);
      }
      const [a, b, c] = (await out.waitFor(3)).map(({ token }) => token) as [number, number, number];
      const letter = { id: 'l', reason: 'bad', group: 'g', at: 0, history: [], stateOnRedrive: '' };
      expect(
        await consumer.settle([
          { kind: 'ack', token: a },
          { kind: 'deadLetter', token: b, letter },
          { kind: 'ack', token: c },
        ]),
      ).toEqual(['settled', 'settled', 'settled']);
      expect(told.values.map(({ reasons }) => reasons)).toEqual([['bad']]);
      expect(await consumer.extend([a, b, c])).toEqual(['lost', 'lost', 'lost']);
    } finally {
      await connection.close();
    }
  });

  it('warns of it where nobody asked to be told', async () => {
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    const bus = await busOn();
    await bus.subscribe(plain, { name: 'one', handler: () => deadLetter('of no use') }).started;
    await bus.publish(plain, { n: 1 });
    expect((await warned).message).toMatch(/keeps no dead letters.*lost 1: of no use/);
  });

  it('a payload that is no CloudEvent and one that breaks the contract are told as lost, and what follows is heard', async () => {
    const told = new Collector<RedisBroadcastNotice>();
    const bus = await busOn([plain], (notice) => told.add(notice));
    const heard = await hearOn(bus);
    const event = { specversion: '1.0', id: 'x', type: plain.name, source: '/shop' };
    for (const text of ['not JSON', '{"n":1}', JSON.stringify({ ...event, data: { n: 'many' } })])
      await raw('PUBLISH', `${prefix}:broadcast:${plain.name}`, text);
    await bus.publish(plain, { n: 7 });
    expect(await heard.waitFor(1)).toEqual([7]);
    // Settlements of one turn are told of together.
    await eventually(
      async () => told.values.flatMap(({ reasons }) => reasons),
      (reasons) => reasons.length === 3,
      'the three losses being told',
    );
  });

  it('hears a CloudEvent that a stranger published, and a stranger hears ours', async () => {
    const bus = await busOn();
    const heard = await hearOn(bus);
    const event = { specversion: '1.0', id: 'x', type: plain.name, source: '/shop', data: { n: 9 } };
    expect(await raw('PUBLISH', `${prefix}:broadcast:${plain.name}`, JSON.stringify(event))).toBe(1);
    expect(await heard.waitFor(1)).toEqual([9]);
    const stranger = createClient({ url: url ?? '', RESP: 2 });
    await stranger.connect();
    const overheard = new Collector<string>();
    await stranger.subscribe(`${prefix}:broadcast:${plain.name}`, (text) => overheard.add(text));
    const { id } = await bus.publish(plain, { n: 10 });
    const [text = ''] = await overheard.waitFor(1);
    expect(JSON.parse(text)).toMatchObject({ specversion: '1.0', id, data: { n: 10 } });
    stranger.destroy();
  });

  it.skipIf(spawnSync('redis-cli', ['--version']).status !== 0)(
    'hears what redis-cli publishes (install redis-tools to run it)',
    async () => {
      const heard = await hearOn(await busOn());
      const event = { specversion: '1.0', id: 'x', type: plain.name, source: '/cli', data: { n: 9 } };
      const name = `${prefix}:broadcast:${plain.name}`;
      const { stdout } = spawnSync('redis-cli', ['-u', url ?? '', 'PUBLISH', name, JSON.stringify(event)]);
      expect(stdout.toString().trim()).toBe('1');
      expect(await heard.waitFor(1)).toEqual([9]);
    },
  );

  it('hears again after its connection was closed by force; what was said meanwhile is lost or refused', async () => {
    const bus = await busOn();
    const heard = await hearOn(bus);
    // Those of the tests before are gone when the server has noticed.
    const ears = await eventually(
      async () =>
        String(await raw('CLIENT', 'LIST', 'TYPE', 'pubsub'))
          .split('\n')
          .filter((line) => line.includes(` name=${prefix}-ear `)),
      ({ length }) => length === 1,
      'one connection that hears',
    );
    expect(await raw('CLIENT', 'KILL', 'ID', /^id=(\d+)/.exec(ears[0] ?? '')?.[1] ?? '0')).toBe(1);
    await eventually(
      async () => {
        await bus.publish(plain, { n: 1 }).catch(() => {});
        return heard.values.length;
      },
      (count) => count > 0,
      'being heard again',
    );
  });
});

describe.skipIf(!hasServerProgram())('on a server of our own (install redis-server to run it)', () => {
  it('a server that is killed and comes back is heard again by the same bus; what was said meanwhile is lost or refused', async () => {
    const server = await startOwnServer();
    const bus = await busOn([plain], undefined, server.url);
    const heard = await hearOn(bus);
    expect((await bus.publish(plain, { n: 1 })).durability).toBe('none');
    await heard.waitFor(1);
    await server.restart();
    await eventually(
      async () => {
        await bus.publish(plain, { n: 2 }).catch((error: { retryable?: boolean }) => {
          if (error.retryable !== true) throw error;
        });
        return heard.values;
      },
      (values) => values.includes(2),
      'being heard again',
    );
    await bus.stop();
    await server.destroy();
  });
});
