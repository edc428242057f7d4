import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { systemClock } from '../clock.ts';
import { Collector, eventually, signal } from '../conformance/fixture.ts';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import type { Middleware } from '../middleware.ts';
import { ack, type Outcome, snooze } from '../outcome.ts';
import { createBulkhead } from './bulkhead.ts';
import { createCircuitBreaker } from './circuit-breaker.ts';
import { breakered, bulkheaded, rateCapped } from './middleware.ts';
import { createRateCap } from './rate-cap.ts';

const calls = defineChannel({ name: 'calls', version: 1, schema: Type.Object({ n: Type.Integer() }) });

interface Seen {
  readonly n: number;
  readonly attempt: number;
}

async function run(
  count: number,
  layers: readonly Middleware[],
  handle: (seen: Seen) => Outcome | Promise<Outcome>,
  use: (got: Collector<Seen>) => Promise<void>,
): Promise<void> {
  const bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/t' });
  bus.declare([calls]);
  const got = new Collector<Seen>();
  bus.subscribe(calls, {
    name: 'one',
    concurrency: 4,
    retries: { immediate: 0, delayed: [1, 1, 1, 1], jitter: 0 },
    middleware: layers,
    handler: ({ data }, { attempt }) => {
      const seen = { n: data.n, attempt };
      got.add(seen);
      return handle(seen);
    },
  });
  await bus.start();
  await bus.publishBatch(
    calls,
    Array.from({ length: count }, (_, n) => ({ data: { n } })),
  );
  await use(got);
  await bus.stop();
}

/** Outside of the layer that puts off. */
const collecting =
  (putOff: Collector<Outcome>): Middleware =>
  async (_message, _context, next) => {
    const outcome = await next();
    if (outcome.kind === 'snooze') putOff.add(outcome);
    return outcome;
  };

describe('layers around a handler', () => {
  it('run from the outermost to the handler and back', async () => {
    const steps: string[] = [];
    const layer =
      (name: string): Middleware =>
      async (_message, _context, next) => {
        steps.push(`${name} in`);
        const outcome = await next();
        steps.push(`${name} out`);
        return outcome;
      };
    const ended = signal();
    const last: Middleware = async (_message, _context, next) => {
      const outcome = await next();
      ended.fire();
      return outcome;
    };
    await run(
      1,
      [last, layer('a'), layer('b')],
      () => ack(),
      () => ended.fired,
    );
    expect(steps).toEqual(['a in', 'b in', 'b out', 'a out']);
  });

  it('a bulkhead bounds how many run at once; the refused are put off without counting an attempt', async () => {
    let running = 0;
    let most = 0;
    await run(
      12,
      [bulkheaded(createBulkhead({ concurrency: 1, queue: 1 }), { putOffMs: 5 })],
      async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        return ack();
      },
      async (got) => {
        await got.waitFor(12);
        expect(got.values.every(({ attempt }) => attempt === 1)).toBe(true);
      },
    );
    expect(most).toBe(1);
  });

  it('a breaker that is open puts off, and counts no attempt while it does', async () => {
    const breaker = createCircuitBreaker({ clock: systemClock, minimumCalls: 2, openMs: 50 });
    const putOff = new Collector<Outcome>();
    let asked = 0;
    await run(
      2,
      [collecting(putOff), breakered(breaker, { putOffMs: 10 })],
      () => {
        asked += 1;
        if (asked > 2) return ack();
        throw new Error('the provider is down');
      },
      async (got) => {
        await got.waitFor(4);
        expect(putOff.values.length).toBeGreaterThan(0);
        expect(got.values.map(({ attempt }) => attempt).toSorted((a, b) => a - b)).toEqual([1, 1, 2, 2]);
      },
    );
  });

  it('while a slow probe runs messages are put off by putOffMs, not asked for again at once', async () => {
    const breaker = createCircuitBreaker({ clock: systemClock, minimumCalls: 1, openMs: 1 });
    await breaker.run(() => Promise.reject(new Error('down'))).catch(() => {});
    const { promise, resolve } = Promise.withResolvers<void>();
    await eventually(
      async () => {
        void breaker.run(() => promise).catch(() => {});
        return breaker.state;
      },
      (state) => state === 'half-open',
      'a probe',
    );
    const answer = await breakered(breaker, { putOffMs: 700 })({} as never, {} as never, async () => ack());
    expect(answer).toEqual(snooze(700));
    resolve();
  });

  it('a message that loses its lease in the queue of a bulkhead is not handled any more', async () => {
    const bulkhead = createBulkhead({ concurrency: 1, queue: 1 });
    const { promise, resolve } = Promise.withResolvers<void>();
    const running = bulkhead.run(() => promise);
    const lease = new AbortController();
    let handled = false;
    const queued = bulkheaded(bulkhead)({} as never, { signal: lease.signal } as never, async () => {
      handled = true;
      return ack();
    });
    lease.abort(new Error('the lease is lost'));
    resolve();
    await running;
    await expect(queued).rejects.toThrow('the lease is lost');
    expect(handled).toBe(false);
  });

  it('a rate cap that nobody may wait for puts off', async () => {
    // Long beside the moment in which all three are handed out.
    const cap = createRateCap({ clock: systemClock, permits: 1, perMs: 200, burst: 1, maxWaitMs: 0 });
    const putOff = new Collector<Outcome>();
    await run(
      3,
      [collecting(putOff), rateCapped(cap)],
      () => ack(),
      async (got) => {
        await got.waitFor(3);
        expect(putOff.values.length).toBeGreaterThan(0);
        expect(got.values.every(({ attempt }) => attempt === 1)).toBe(true);
      },
    );
  });
});

it('layers are refused beside a batch, where nobody would call them, and the bus goes on', async () => {
  const bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/t' });
  bus.declare([calls]);
  const layer = rateCapped(createRateCap({ clock: systemClock, permits: 1 }));
  const batched = { name: 'many', batch: { max: 5 }, handler: () => [] };
  expect(() => bus.subscribe(calls, { ...batched, middleware: [layer] as never })).toThrow(
    expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining('not both') }),
  );
  bus.subscribe(calls, { ...batched, middleware: [] as never });
  await bus.start();
  await bus.stop();
});
