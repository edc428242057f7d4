/** A broker of this file's own that stands still (SIGSTOP): its connections stay, and nothing is answered. A stop ends all the same, and what it could not settle comes again. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import {
  Collector,
  eventually,
  limitPatience,
  numbers,
  patience,
  signal,
} from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { createKafkaFixture, type KafkaFixture } from './conformance-fixture.ts';
import { Farewell, FAREWELL_MS } from './farewell.ts';
import { hasKafkaProgram, type OwnBroker, startOwnBroker } from './own-cluster.ts';
import { replace } from './own-defects.ts';

const FIRST_PORT = 24_500;
/** The drain time, the last commit, leaving the group and what lies in full sockets: what a stop takes at most, docs/messaging/engines/kafka.md. */
const LONGEST_STOP_MS = 1_000 + FAREWELL_MS + 3_300 + FAREWELL_MS;

interface AtWork {
  readonly bus: Bus;
  /** Lets the handler of the first message end. */
  readonly release: () => void;
}

/** One message is with its handler, and one more waits for it in this process. */
async function startWork(fixture: KafkaFixture): Promise<AtWork> {
  const [began, released] = [signal(), signal()];
  const bus = createBus({ engine: fixture.open(), source: '/still' });
  bus.declare([plain]);
  bus.subscribe(plain, {
    name: 'one',
    concurrency: 1,
    handler: async () => {
      began.fire();
      await released.fired;
      return ack();
    },
  });
  await bus.start();
  await bus.publishBatch(
    plain,
    numbers(1, 3).map((n) => ({ data: { n } })),
  );
  await began.fired;
  return { bus, release: released.fire };
}

describe.skipIf(!hasKafkaProgram())(
  'a Kafka that stands still (needs java and the jars that services:up brings)',
  // Left to the client, a stop took 161 s.
  { timeout: 90_000 },
  () => {
    let broker: OwnBroker;
    beforeAll(async () => {
      broker = await startOwnBroker(FIRST_PORT);
    }, 120_000);
    afterEach(() => broker?.thaw());
    afterAll(async () => broker?.destroy(), 60_000);

    it('a stop ends while it does, what was being published is told, and what was not settled is handed out again', async () => {
      const fixture = await createKafkaFixture(broker.url);
      const { bus, release } = await startWork(fixture);
      await broker.freeze();
      const publishing = bus.publish(plain, { n: 4 }).then(
        () => 'stored',
        (error: { retryable?: boolean }) => error.retryable,
      );
      release();
      await bus.stop({ drainMs: 1_000 });
      // Nobody has let it go on.
      expect(await publishing).toBe(true);

      broker.thaw();
      const got = new Collector<number>();
      const next = createBus({ engine: fixture.open(), source: '/next' });
      next.declare([plain]);
      next.subscribe(plain, {
        name: 'one',
        handler: ({ data }) => {
          got.add(data.n);
          return ack();
        },
      });
      await next.start();
      // The first may have been settled: its commit was under way.
      await eventually(
        async () => numbers(2, 3).filter((n) => !got.values.includes(n)),
        (missing) => missing.length === 0,
        'what no handler had is handled',
      );
      await next.stop({ drainMs: 0 });
      await fixture.destroy();
    });

    it('control: without a bound the stop waits until the broker goes on', async () => {
      const fixture = await createKafkaFixture(broker.url);
      const { bus, release } = await startWork(fixture);
      const undo = replace(Farewell.prototype, 'endsWithin', () => async (_ms, work): Promise<boolean> => {
        await work.catch(() => {});
        return true;
      });
      const usual = patience();
      let isStopped = false;
      try {
        await broker.freeze();
        release();
        const stopping = bus.stop({ drainMs: 1_000 }).then(() => {
          isStopped = true;
        });
        // With the bound it is over by then.
        limitPatience(LONGEST_STOP_MS);
        await expect(
          eventually(
            async () => isStopped,
            (stopped) => stopped,
            'the stop',
          ),
        ).rejects.toThrow(/the stop did not come true/u);
        // It was the broker that it waited for.
        broker.thaw();
        await stopping;
      } finally {
        limitPatience(usual);
        undo();
      }
      await fixture.destroy();
    });
  },
);
