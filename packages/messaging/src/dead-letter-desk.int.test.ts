/** What people do with dead letters, on the embedded engine; what its store does is in the conformance suite. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { Collector, eventually } from './conformance/fixture.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { ack, deadLetter } from './outcome.ts';

const orders = defineChannel({
  name: 'orders',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
});

async function parked(
  count: number,
  handles: (n: number) => boolean,
): Promise<{ bus: Bus; got: Collector<number> }> {
  const bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/t' });
  const got = new Collector<number>();
  bus.declare([orders]);
  bus.subscribe(orders, {
    name: 'one',
    handler: ({ data }) => {
      got.add(data.n);
      return handles(data.n) ? ack() : deadLetter(`order ${data.n} is refused`);
    },
  });
  await bus.start();
  await bus.publishBatch(
    orders,
    Array.from({ length: count }, (_, n) => ({ data: { n } })),
  );
  await eventually(
    () => bus.deadLetters.groups(),
    (groups) => groups[0]?.count === count,
    'all parked',
  );
  return { bus, got };
}

describe('dead letters', () => {
  it('are counted by cause', async () => {
    const { bus } = await parked(3, () => false);
    expect(await bus.deadLetters.groups()).toEqual([
      { channel: 'orders', subscription: 'one', group: 'deadLetter: order # is refused', count: 3 },
    ]);
    await bus.stop();
  });

  it('that fail again while they are redriven are not redriven for ever', async () => {
    const { bus, got } = await parked(450, () => false);
    const steps: number[] = [];
    const done = await bus.deadLetters.redrive({}, { onProgress: ({ moved }) => steps.push(moved) });
    expect(done).toEqual({ moved: 450, remaining: 0 });
    expect(steps).toEqual([200, 400, 450]);
    await got.waitFor(900);
    await eventually(
      () => bus.deadLetters.groups(),
      (groups) => groups[0]?.count === 450,
      'all parked again',
    );
    expect(got.values).toHaveLength(900);
    await bus.stop();
  });

  it('are redriven in steps: an abort ends after the step under way, and the next call goes on', async () => {
    let mended = false;
    const { bus, got } = await parked(450, () => mended);
    mended = true;
    const abort = new AbortController();
    const first = await bus.deadLetters.redrive(
      {},
      { signal: abort.signal, onProgress: () => abort.abort() },
    );
    expect(first).toEqual({ moved: 200, remaining: 250 });
    expect(await bus.deadLetters.redrive({})).toEqual({ moved: 250, remaining: 0 });
    await got.waitFor(900);
    expect(new Set(got.values.slice(450)).size).toBe(450);
    await bus.stop();
  });
});
