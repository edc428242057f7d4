/** For tests: what a bus does while its server stands still (SIGSTOP), on a server of the test's own. */
import assert from 'node:assert/strict';
import { type Bus, createBus } from '../../bus.ts';
import { pause, systemClock } from '../../clock.ts';
import { plain } from '../../conformance/channels.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { ack } from '../../outcome.ts';
import { type OpenClient, openClient } from '../client.ts';
import { type OwnServer, startOwnServer } from './own-server.ts';

/** For the engines of these cases. */
export const ANSWER_TIMEOUT_MS = 300;
/** Several times what a healthy one takes. */
const PATIENCE_MS = 1_500;

/** With the defence off: answers are waited for as long as it takes. */
export const withoutPatience: OpenClient = (options, onReady) =>
  openClient({ ...options, answerTimeoutMs: undefined }, onReady);

async function inTime<T>(what: string, work: Promise<T>): Promise<T> {
  const over = new AbortController();
  const late = pause(systemClock, PATIENCE_MS, over.signal).then(() => {
    if (!over.signal.aborted) throw new Error(`${what}: not within ${PATIENCE_MS} ms`);
    return work;
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
  }
}

async function onStandingServer(
  engineOn: (url: string) => Engine,
  run: (parts: { bus: Bus; server: OwnServer; got: Collector<number> }) => Promise<void>,
): Promise<void> {
  const server = await startOwnServer();
  const bus = createBus({ engine: engineOn(server.url), source: '/test' });
  try {
    bus.declare([plain]);
    const got = new Collector<number>();
    bus.subscribe(plain, {
      name: 'one',
      handler: ({ data }) => {
        got.add(data.n);
        return ack();
      },
    });
    await bus.start();
    await bus.publish(plain, { n: 1 });
    await got.waitFor(1);
    server.halt();
    await run({ bus, server, got });
  } finally {
    server.goOn();
    await bus.stop({ drainMs: 100 });
    await server.destroy();
  }
}

/** What is published then rejects as retryable, and when the server goes on the bus does. */
export const rejectsAndComesBack = (engineOn: (url: string) => Engine): Promise<void> =>
  onStandingServer(engineOn, async ({ bus, server, got }) => {
    const fault = (): Promise<unknown> =>
      bus.publish(plain, { n: 2 }).then(
        () => undefined,
        (error: unknown) => error,
      );
    const { code, retryable } = ((await inTime('the rejection', fault())) ?? {}) as Record<string, unknown>;
    assert.deepEqual({ code, retryable }, { code: 'DB_MSG_ENGINE_UNREACHABLE', retryable: true });
    server.goOn();
    await eventually(fault, (error) => error === undefined, 'publishing again');
    await eventually(
      async () => got.values,
      (values) => values.includes(2),
      'handling again',
    );
  });

/** What is on its way rejects, and the stop ends. */
export const stopEnds = (engineOn: (url: string) => Engine): Promise<void> =>
  onStandingServer(engineOn, async ({ bus }) => {
    const publishing = bus.publish(plain, { n: 2 }).then(
      () => 'stored',
      ({ code }: { code: string }) => code,
    );
    await inTime('the stop', bus.stop({ drainMs: 100 }));
    assert.equal(await publishing, 'DB_MSG_ENGINE_UNREACHABLE');
  });
