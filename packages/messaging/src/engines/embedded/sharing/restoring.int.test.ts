/** What a host refuses of those who come back to it: it is asked again, or told as the end of the engine; a consumer is never left without messages in silence. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../../bus.ts';
import type { Durability } from '../../../channel.ts';
import { type Clock, systemClock } from '../../../clock.ts';
import { plain } from '../../../conformance/channels.ts';
import { Collector, eventually, signal } from '../../../conformance/fixture.ts';
import type { MessagingErrorCode } from '../../../errors.ts';
import { ack } from '../../../outcome.ts';
import { specOf } from '../../../specs.ts';
import { embeddedEngineOn } from '../engine.ts';
import type { HandOut, Operation, OperationResult, OperationValue, TurnReply, Writer } from '../turn.ts';
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

type Refusal = MessagingErrorCode | undefined;
type Refuse = (operation: Operation, session: number) => Refusal | Promise<Refusal>;

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
  const live = new Set<HubSession>();
  const real = hub.join.bind(hub);
  hub.join = (receive) => {
    sessions += 1;
    const number = sessions;
    const joined = real(receive);
    live.add(joined);
    const end: HubSession['end'] = (how) => joined.end(how).then(() => void live.delete(joined));
    return refusing({ run: joined.run.bind(joined), end }, (operation) => refuse(operation, number));
  };
  const host = await listenOn(socketPathOf(path), hub, systemClock);
  let isOver = false;
  const leave = async (): Promise<void> => {
    if (isOver) return;
    isOver = true;
    await host.close();
    await hub.close();
  };
  ends.push(async () => {
    await leave();
    rmSync(folder, { recursive: true, force: true });
  });
  const sockets: Socket[] = [];
  const fatal = new Collector<Error>();
  const openWriter = (onFatal: (error: Error) => void = onLost): Promise<Writer> =>
    openSharedWriter(
      { path, store, maxMessageBytes: 2 ** 20, onSocket: (socket) => sockets.push(socket) },
      { clock: hurried, onFatal },
    );
  const engine = embeddedEngineOn(({ onFatal }) => openWriter(onFatal));
  const bus = createBus({ engine, source: '/test', onFatal: (error) => fatal.add(error) });
  ends.push(() => bus.stop({ drainMs: 100 }));
  const breakLink = (): void => void sockets.at(-1)?.destroy();
  return { bus, openWriter, hub, path, live, leave, fatal, breakLink };
}

function refusing(
  real: HubSession,
  refuse: (operation: Operation) => Refusal | Promise<Refusal>,
): HubSession {
  const answer = async (operation: Operation): Promise<OperationResult> => {
    const code = await refuse(operation);
    if (code !== undefined) return { error: { code, message: 'not now' } };
    const [result] = await real.run([operation]);
    return result as OperationResult;
  };
  return { run: (operations) => Promise.all(operations.map(answer)), end: (how) => real.end(how) };
}

/** Every host that this process becomes from here on answers so. */
function refuseInNewHosts(refuse: (operation: Operation) => Refusal): () => void {
  const { join: real } = Hub.prototype;
  Hub.prototype.join = function (receive) {
    return refusing(real.call(this, receive), refuse);
  };
  return () => {
    Hub.prototype.join = real;
  };
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

/** Two subscriptions, of which the first has a message in hand until `released`. */
async function holdOn(bus: Bus, released: Promise<void>): Promise<void> {
  const began = signal();
  bus.declare([plain]);
  for (const name of ['one', 'two'])
    bus.subscribe(plain, {
      name,
      handler: async () => {
        if (name === 'two') return ack();
        began.fire();
        await released;
        return ack();
      },
    });
  await bus.start();
  await bus.publish(plain, { n: 1 });
  await began.fired;
}

/** What is refused for good to whoever comes back. */
const refuseTwo = (operation: Operation): Refusal =>
  operation.op === 'subscribe' && operation.subscription === 'two' ? 'DB_MSG_UNKNOWN_CHANNEL' : undefined;

/** How often the message that `one` had in hand counts as abandoned, for the next who takes it. */
async function abandonedOf(hub: Hub): Promise<number> {
  const got = new Collector<HandOut>();
  const session = hub.join((handOuts) => {
    for (const { items } of handOuts) for (const item of items) got.add(item);
  });
  const spec = { channel: plain.name, subscription: 'one', prefetch: 1, leaseMs: 10_000 };
  await session.run([{ op: 'subscribe', consumer: 1, ...spec }]);
  const [first] = await got.waitFor(1, 'hand-outs');
  await session.end('leave');
  return first?.abandoned ?? 0;
}

async function consumersOf(hub: Hub): Promise<readonly number[]> {
  const session = hub.join(() => {});
  const [answer] = await session.run([{ op: 'inspect' }]);
  await session.end('leave');
  const { value } = answer as { readonly value: OperationValue['inspect'] };
  return value.channels.flatMap(({ subscriptions }) => subscriptions.map(({ consumers }) => consumers));
}

const ask = (writer: Writer, operation: Operation): Promise<TurnReply> =>
  writer.run({ now: systemClock.now(), monotonic: systemClock.monotonic(), operations: [operation] });

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

  it('is the end of the engine when the new host refuses it for good, and nothing of it stays there', async () => {
    const released = signal();
    const { bus, hub, live, fatal, breakLink } = await hostWith((operation, session) =>
      session === 2 ? refuseTwo(operation) : undefined,
    );
    await holdOn(bus, released.fired);
    breakLink();
    expect(await fatal.waitFor(1)).toMatchObject([
      { code: 'DB_MSG_UNKNOWN_CHANNEL', message: expect.stringContaining('subscribe') },
    ]);
    await eventually(
      async () => live.size,
      (size) => size === 0,
      'no session left',
    );
    expect(await consumersOf(hub)).toEqual([0, 0]);
    // Once for the link that broke; what was handed out over the second one went back in order.
    expect(await abandonedOf(hub)).toBe(1);
    released.fire();
  });

  it('is the end of the engine also where its own process became the host: the file is free for the next', async () => {
    const released = signal();
    const { bus, path, leave, fatal } = await hostWith(() => undefined);
    await holdOn(bus, released.fired);
    const undo = refuseInNewHosts(refuseTwo);
    try {
      await leave();
      expect(await fatal.waitFor(1)).toMatchObject([{ code: 'DB_MSG_UNKNOWN_CHANNEL' }]);
    } finally {
      undo();
    }
    const next = await openWriterThread({ path, options: store }, () => {});
    await next.close();
    expect(existsSync(socketPathOf(path))).toBe(false);
    released.fire();
  });

  it.each([
    ['the engine is closed', (writer: Writer) => writer.close()],
    ['it leaves', (writer: Writer) => ask(writer, { op: 'leave', consumer: 1 })],
  ])('is not left behind at the new host when %s before that has answered', async (_, end) => {
    const [asked, answered] = [signal(), signal()];
    const { hub, openWriter, breakLink } = await hostWith(async ({ op }, session) => {
      if (session !== 2 || op !== 'subscribe') return undefined;
      asked.fire();
      await answered.fired;
      return undefined;
    });
    const writer = await openWriter();
    const topology = {
      channels: [specOf(plain)],
      subscriptions: [{ channel: plain.name, name: 'one' }],
    };
    await ask(writer, { op: 'declare', topology });
    const spec = { channel: plain.name, subscription: 'one', prefetch: 1, leaseMs: 10_000 };
    await ask(writer, { op: 'subscribe', consumer: 1, ...spec });
    breakLink();
    await asked.fired;
    const ended = end(writer);
    answered.fire();
    await ended;
    const left = await eventually(
      () => consumersOf(hub),
      ([consumers]) => consumers === 0,
      'no consumer left',
    );
    expect(left).toEqual([0]);
    await writer.close();
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
