/** A tool beside the application: it uses the file of whoever hosts it, and is never in the way of who wants to. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../../bus.ts';
import { type Clock, systemClock } from '../../../clock.ts';
import { plain } from '../../../conformance/channels.ts';
import { eventually, numbers } from '../../../conformance/fixture.ts';
import type { EngineConnection } from '../../../engine.ts';
import { specOf } from '../../../specs.ts';
import { Keeper } from '../conformance-fixture.ts';
import { createEmbeddedEngine, createGuestEngine } from '../engine.ts';
import type { Operation, OperationValue, PublishRow, TurnReply, Writer } from '../turn.ts';
import { openGuestWriter } from './guest-writer.ts';
import { Hub, type HubSession } from './hub.ts';

let folder: string;
let path: string;
const ends: (() => Promise<void>)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'guest-'));
  path = join(folder, 'bus.db');
});
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
  rmSync(folder, { recursive: true, force: true });
});

async function visit(clock: Clock = systemClock): Promise<EngineConnection> {
  const onFatal = (error: Error): never => {
    throw error;
  };
  const guest = await createGuestEngine({ path }).connect({ clock, onFatal });
  ends.push(() => guest.close());
  return guest;
}

async function application(share: boolean): Promise<Bus> {
  const bus = createBus({ engine: createEmbeddedEngine({ path, share }), source: '/shop' });
  bus.declare([plain]);
  await bus.start();
  ends.push(() => bus.stop());
  return bus;
}

const storedIn = async (guest: EngineConnection): Promise<readonly string[]> =>
  (await guest.inspect()).channels.map(({ name }) => name);

it('uses the file of a host, goes on when that is killed, and the next application hosts', async () => {
  const keeper = new Keeper();
  await keeper.tell('keep', path);
  const guest = await visit();
  await guest.declare({ channels: [specOf(plain)], subscriptions: [] });
  expect(await storedIn(guest)).toEqual([plain.name]);
  await keeper.kill();
  const seen = await eventually(
    () => storedIn(guest),
    () => true,
    'a look without a host',
  );
  expect(seen).toEqual([plain.name]);
  // Had the guest taken the file, one that does not share it would be refused.
  const alone = await application(false);
  await alone.stop();
  const bus = await application(true);
  expect((await bus.publish(plain, { n: 1 })).durability).toBe('disk');
  expect(await storedIn(guest)).toEqual([plain.name]);
});

it('where nobody hosts, holds the file no longer than for what it asks, and listens nowhere', async () => {
  await (await application(true)).stop();
  const guest = await visit();
  expect(await storedIn(guest)).toEqual([plain.name]);
  expect(existsSync(`${path}.sock`)).toBe(false);
  await (await application(false)).stop();
  expect(await storedIn(guest)).toEqual([plain.name]);
});

it('takes no messages, and makes no file', async () => {
  const guest = await visit();
  await expect(guest.inspect()).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNSAFE' });
  expect(existsSync(path)).toBe(false);
  await application(true);
  await guest.declare({ channels: [], subscriptions: [{ channel: plain.name, name: 'one' }] });
  const spec = { channel: plain.name, subscription: 'one', prefetch: 1, leaseMs: 1_000 };
  await expect(guest.subscribe(spec, () => {})).rejects.toMatchObject({
    code: 'DB_MSG_UNSUPPORTED_CAPABILITY',
  });
});

it('says that the file is held by one who does not share it', async () => {
  await application(false);
  const hurried = { ...systemClock, monotonic: () => systemClock.monotonic() * 200 };
  const guest = await visit(hurried);
  await expect(guest.inspect()).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_LOCKED' });
});

describe('turns that are asked at once', () => {
  const rowOf = (n: number): PublishRow => ({
    channel: plain.name,
    level: 0,
    key: null,
    expiresAt: null,
    dueAt: null,
    body: JSON.stringify({ n }),
  });

  async function openWriter(): Promise<Writer> {
    const onFatal = (error: Error): never => {
      throw error;
    };
    const writer = await openGuestWriter({ path, maxMessageBytes: 2 ** 20 }, { clock: systemClock, onFatal });
    ends.push(() => writer.close());
    return writer;
  }

  const ask = (writer: Writer, ...operations: readonly Operation[]): Promise<TurnReply> =>
    writer.run({ now: systemClock.now(), monotonic: systemClock.monotonic(), operations });

  it('keep their order also on the file alone', async () => {
    await (await application(false)).stop();
    const writer = await openWriter();
    const subscriptions = [{ channel: plain.name, name: 'one' }];
    await ask(writer, { op: 'declare', topology: { channels: [], subscriptions } });
    await Promise.all(numbers(1, 6).map((n) => ask(writer, { op: 'publish', rows: [rowOf(n)] })));
    const { results } = await ask(writer, {
      op: 'peek',
      channel: plain.name,
      subscription: 'one',
      limit: 10,
    });
    const [{ value: rows }] = results as readonly [{ readonly value: OperationValue['peek'] }];
    expect(rows.map(({ body }) => JSON.parse(body) as unknown)).toEqual(numbers(1, 6).map((n) => ({ n })));
  });

  it('go over one link, and none is left at the host', async () => {
    await (await application(true)).stop();
    const writer = await openWriter();
    const live = new Set<HubSession>();
    const { join: real } = Hub.prototype;
    Hub.prototype.join = function (receive) {
      const session = real.call(this, receive);
      live.add(session);
      const end: HubSession['end'] = (how) => session.end(how).then(() => void live.delete(session));
      return { run: (operations) => session.run(operations), end };
    };
    ends.push(async () => {
      Hub.prototype.join = real;
    });
    await application(true);
    await Promise.all([ask(writer, { op: 'inspect' }), ask(writer, { op: 'inspect' })]);
    expect(live.size).toBe(2);
    await writer.close();
    await eventually(
      async () => live.size,
      (size) => size === 1,
      'only the session of the host',
    );
  });
});
