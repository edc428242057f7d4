/** What a host refuses of those who come back to it: it is asked again, or told as the end of the engine; a consumer is never left without messages in silence. */
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../../bus.ts';
import type { Durability } from '../../../channel.ts';
import { type Clock, systemClock } from '../../../clock.ts';
import { plain } from '../../../conformance/channels.ts';
import { Collector, eventually } from '../../../conformance/fixture.ts';
import type { MessagingErrorCode } from '../../../errors.ts';
import { ack } from '../../../outcome.ts';
import { embeddedEngineOn } from '../engine.ts';
import type { Operation, OperationResult } from '../turn.ts';
import { openWriterThread } from '../writer.ts';
import { listenOn } from './host.ts';
import { Hub, type HubSession } from './hub.ts';
import { openSharedWriter } from './shared-writer.ts';
import { socketPathOf } from './socket-path.ts';

const store = { durable: true, keepUnsubscribedMs: 60_000 };
/** Half a second, the wait before it asks again, passes in 10 ms. */
const hurried: Clock = {
  ...systemClock,
  setTimer: (ms, fn) => systemClock.setTimer(ms <= 500 ? ms / 50 : ms, fn),
};
const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

type Refuse = (operation: Operation, session: number) => MessagingErrorCode | undefined;

/** A host in this process that answers some operations with a refusal, and a bus that speaks to it over sockets. */
async function hostWith(refuse: Refuse) {
  const folder = mkdtempSync(join(tmpdir(), 'restoring-'));
  const path = join(folder, 'bus.db');
  const onLost = (error: Error): never => {
    throw error;
  };
  const writer = await openWriterThread({ path, options: store }, onLost);
  const hub = new Hub({ writer, clock: systemClock, maxMessageBytes: 2 ** 20, onLost });
  let sessions = 0;
  const real = hub.join.bind(hub);
  hub.join = (receive) => {
    sessions += 1;
    const number = sessions;
    return refusing(real(receive), (operation) => refuse(operation, number));
  };
  const host = await listenOn(socketPathOf(path), hub, systemClock);
  ends.push(async () => {
    await host.close();
    await hub.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const sockets: Socket[] = [];
  const fatal = new Collector<Error>();
  const engine = embeddedEngineOn((context) =>
    openSharedWriter(
      { path, store, maxMessageBytes: 2 ** 20, onSocket: (socket) => sockets.push(socket) },
      { ...context, clock: hurried },
    ),
  );
  const bus = createBus({ engine, source: '/test', onFatal: (error) => fatal.add(error) });
  ends.push(() => bus.stop({ drainMs: 100 }));
  return { bus, hub, fatal, breakLink: () => sockets.at(-1)?.destroy() };
}

function refusing(
  real: HubSession,
  refuse: (operation: Operation) => MessagingErrorCode | undefined,
): HubSession {
  const answer = async (operation: Operation): Promise<OperationResult> => {
    const code = refuse(operation);
    if (code !== undefined) return { error: { code, message: 'not now' } };
    const [result] = await real.run([operation]);
    return result as OperationResult;
  };
  return { run: (operations) => Promise.all(operations.map(answer)), end: (how) => real.end(how) };
}

async function hearOn(bus: Bus): Promise<Collector<number>> {
  const got = new Collector<number>();
  bus.declare([plain]);
  bus.subscribe(plain, {
    name: 'one',
    handler: ({ data }) => {
      got.add(data.n);
      return ack();
    },
  });
  await bus.start();
  return got;
}

const publishSurely = (bus: Bus, n: number): Promise<boolean> =>
  eventually(
    () =>
      bus.publish(plain, { n }).then(
        () => true,
        () => false,
      ),
    (stored) => stored,
    'stored',
  );

describe('a consumer whose host has changed', { timeout: 60_000 }, () => {
  it('is asked for again when the new host refuses it for now', async () => {
    const asked = new Collector<number>();
    const { bus, fatal, breakLink } = await hostWith(({ op }, session) => {
      if (op === 'subscribe') asked.add(session);
      return op === 'subscribe' && session > 1 && asked.values.length < 5 ? 'DB_MSG_DISK_FULL' : undefined;
    });
    const got = await hearOn(bus);
    breakLink();
    await publishSurely(bus, 1);
    expect(await got.waitFor(1)).toEqual([1]);
    expect(asked.values).toEqual([1, 2, 2, 2, 2]);
    expect(fatal.values).toEqual([]);
  });

  it('is the end of the engine when the new host refuses it for good', async () => {
    const { bus, fatal, breakLink } = await hostWith(({ op }, session) =>
      op === 'subscribe' && session > 1 ? 'DB_MSG_UNKNOWN_CHANNEL' : undefined,
    );
    await hearOn(bus);
    breakLink();
    expect(await fatal.waitFor(1)).toMatchObject([
      { code: 'DB_MSG_UNKNOWN_CHANNEL', message: expect.stringContaining('subscribe') },
    ]);
  });

  it('waits for another one where the host says that it is about to go', async () => {
    const { bus, fatal, breakLink } = await hostWith(({ op }, session) =>
      op === 'subscribe' && session === 2 ? 'DB_MSG_STOPPED' : undefined,
    );
    const got = await hearOn(bus);
    breakLink();
    await publishSurely(bus, 1);
    breakLink();
    expect(await got.waitFor(1)).toEqual([1]);
    expect(fatal.values).toEqual([]);
  });

  it('confirms what a commit of the new host means', async () => {
    const { bus, hub, breakLink } = await hostWith(() => undefined);
    await hearOn(bus);
    expect((await bus.publish(plain, { n: 1 })).durability).toBe('disk');
    (hub as { durability: Durability }).durability = 'memory';
    breakLink();
    const { durability } = await eventually(
      () => bus.publish(plain, { n: 2 }).catch(() => ({ durability: undefined })),
      (confirmation) => confirmation.durability !== undefined,
      'stored',
    );
    expect(durability).toBe('memory');
  });
});
