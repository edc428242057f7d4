/** A tool beside the application: it uses the file of whoever hosts it, and is never in the way of who wants to. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Bus, createBus } from '../../../bus.ts';
import { type Clock, systemClock } from '../../../clock.ts';
import { plain } from '../../../conformance/channels.ts';
import { eventually } from '../../../conformance/fixture.ts';
import type { EngineConnection } from '../../../engine.ts';
import { specOf } from '../../../specs.ts';
import { Keeper } from '../conformance-fixture.ts';
import { createEmbeddedEngine, createGuestEngine } from '../engine.ts';

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
