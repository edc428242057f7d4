/** What the workers read of a backlog, and that nothing is left lying when the queue in memory is full. On a real ledger. */
import type { Bus } from '@doorbuster/messaging';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import type { DeliveryLedger } from '../ledger.ts';
import { type DeliveryRequested, doorbellsFor } from '../messages.ts';
import { createPoolSource } from './voucher-sources/pool.ts';
import { eyes, fill, openLedger, staff } from './testing/stage.ts';

const units = 1_200;

/** Nobody looks a second time within the test: what is found is found by the walk, by doorbells, or by room in the queue. */
const limits = { sweepMs: 600_000, queueCapacity: 200, concurrency: 8, leaseMs: 60_000 };

/** Delivers all of them with a queue for 200 and tells how many ids the sweep has read. */
async function readInAll(change: (due: DeliveryLedger['due']) => DeliveryLedger['due']): Promise<number> {
  const ledger = openLedger();
  await fill(ledger, { units });
  let read = 0;
  const due = change(ledger.deliveries.due);
  const deliveries: DeliveryLedger = {
    ...ledger.deliveries,
    due: async (...args) => {
      const page = await due(...args);
      read += page.deliveryIds.length;
      return page;
    },
  };
  const { messenger } = eyes();
  const { fulfilment, until } = staff({
    ledger: { deliveries },
    sources: [{ source: createPoolSource(ledger) }],
    messengers: [{ messenger }],
    limits,
  });
  fulfilment.start();
  await until('delivered', units);
  await fulfilment.stop(5_000);
  await ledger.close();
  return read;
}

describe('the sweep', () => {
  it('reads each delivery of a backlog once', async () => {
    expect(await readInAll((due) => due)).toBe(units);
  });

  it('control: without its cursor it reads the same ones again and again', async () => {
    expect(await readInAll((due) => (limit) => due(limit))).toBeGreaterThan(units * 1.3);
  });

  /** Rings `rings` times for all deliveries and returns how many messages went out. */
  async function rungFor(rings: number): Promise<number> {
    const ledger = openLedger();
    let ring: (message: { data: DeliveryRequested }) => Promise<unknown> = async () => {};
    const subscribe = ((_channel, { handler }) => {
      ring = handler as unknown as typeof ring;
      return { started: Promise.resolve(), stop: async () => {} };
    }) as Bus['subscribe'];
    const { messenger, seen } = eyes();
    const { fulfilment, until } = staff({
      ledger,
      bus: { subscribe },
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger }],
      limits,
    });
    // Its only walk is over when the deliveries come to be.
    fulfilment.start();
    await new Promise((resolve) => setImmediate(resolve));
    await fill(ledger, { units });
    const messages = doorbellsFor(
      Array.from({ length: units }, (_, i) => ({ campaignId: 'spring', seq: i + 1, unit: i + 1 })),
    );
    for (let i = 0; i < rings; i++) for (const data of messages) void ring({ data });
    await until('delivered', units);
    await fulfilment.stop(5_000);
    await ledger.close();
    expect(new Set(seen.map(({ deliveryId }) => deliveryId)).size).toBe(seen.length);
    return seen.length;
  }

  it('brings what the full queue turned away when half of it has run', async () => {
    expect(await rungFor(1)).toBe(units);
  });

  it('delivers once what is rung for three times', async () => {
    expect(await rungFor(3)).toBe(units);
  });
});

describe('workers beside a crowd', () => {
  /** On a clock that stands still: whatever is delivered belongs to this turn. */
  async function beside(isHere: () => boolean) {
    const ledger = openLedger();
    await fill(ledger, { units: 100 });
    const clock = createManualClock();
    const { messenger } = eyes();
    const { fulfilment, until, results } = staff({
      ledger,
      clock,
      crowd: { isHere },
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger }],
      limits,
    });
    fulfilment.start();
    const end = async (): Promise<void> => {
      await fulfilment.stop(5_000);
      await ledger.close();
    };
    const turns = async (): Promise<void> => {
      for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    };
    /** However long a turn is. */
    const nextTurn = (): void => clock.advance(clock.nextTimerAt()! - clock.monotonic());
    return { nextTurn, until, results, turns, end };
  }

  it('begin their share of each turn, and the rest when it has gone', async () => {
    let here = true;
    const { nextTurn, until, results, turns, end } = await beside(() => here);
    await until('delivered', 16);
    await turns();
    expect(results('delivered')).toBe(16);
    nextTurn();
    await until('delivered', 32);
    await turns();
    expect(results('delivered')).toBe(32);
    here = false;
    nextTurn();
    await until('delivered', 100);
    await end();
  });

  it('control: without a crowd all are delivered while the clock stands still', async () => {
    const { until, results, end } = await beside(() => false);
    await until('delivered', 100);
    expect(results('delivered')).toBe(100);
    await end();
  });
});
