/** `inspect` on an embedded file: what is there, again and again, and files that are no bus, or somebody else's. */
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { orderPlaced } from '../../../examples/channels.ts';
import { createBus } from '../../bus.ts';
import { Collector } from '../../conformance/fixture.ts';
import { systemClock } from '../../clock.ts';
import { Keeper } from '../../engines/embedded/conformance-fixture.ts';
import { ack } from '../../outcome.ts';
import { createEmbeddedEngine } from '../../engines/embedded/engine.ts';
import { cli, ended, here, jsonOf, publishOrders, start, useShopFile } from '../testing/fixture.ts';

const shop = useShopFile();

it('shows backlog and dead letters as a table and as JSON', async () => {
  await shop.withLetters(3);
  const table = await shop.onFile('inspect');
  expect(table).toMatchObject({ code: 0, err: expect.stringContaining('embedded') });
  expect(table.out).toMatch(/order\.placed +mailer +0 +0 +0 +0 +- +3/);
  expect(table.out).toMatch(/order\.placed +report +3/);
  const json = jsonOf<{ engine: string; capabilities: object }>(await shop.onFile('inspect', '--json'));
  expect(json).toMatchObject({ engine: 'embedded', capabilities: { confirm: 'disk' } });
  expect((await shop.onFile('inspect', '--quiet')).err).toBe('');
});

it('--watch looks again until Ctrl-C, one JSON document a line', async () => {
  await shop.withLetters(1);
  const child = start(['inspect', '--url', shop.url(), '--watch', '--every', '1', '--json']);
  const looks = new Collector<string>();
  child.stdout.on('data', (part: Buffer) => {
    for (const line of part.toString().split('\n')) if (line !== '') looks.add(line);
  });
  const result = ended(child);
  await looks.waitFor(2);
  child.kill('SIGINT');
  expect((await result).code).toBe(0);
  for (const line of looks.values) expect(JSON.parse(line)).toHaveProperty('channels');
});

it.each<[string, (path: string) => void, RegExp]>([
  [
    'that is no database',
    (path) => writeFileSync(path, 'hello'),
    /no SQLite database: it begins with "hello"/,
  ],
  ['that is empty', (path) => writeFileSync(path, ''), /the file is empty, so it is no bus/],
  ['that is a folder', (path) => mkdirSync(path), /it cannot be read: EISDIR/],
  [
    'of another application',
    (path) => {
      const other = new DatabaseSync(path);
      other.exec('CREATE TABLE theirs (id)');
      other.close();
    },
    /a SQLite database and no bus/,
  ],
])('refuses a file %s, which stays as it is', async (_name, make, text) => {
  const path = shop.path('other');
  make(path);
  const before = statSync(path);
  const result = await here('inspect', '--url', `sqlite:${path}`);
  expect(result).toMatchObject({ code: 2, out: '', err: expect.stringMatching(text) });
  expect(statSync(path)).toMatchObject({ size: before.size, mtimeMs: before.mtimeMs });
});

it('refuses a file that a running application holds', async () => {
  await shop.application(async (bus) => {
    await bus.start();
    const locked = await shop.onFile('inspect');
    expect(locked).toMatchObject({ code: 3, err: expect.stringContaining('belongs to one process') });
  });
});

it('but not one that it shares', async () => {
  const bus = createBus({
    engine: createEmbeddedEngine({ path: shop.path('bus.db'), share: true }),
    source: '/shop',
  });
  bus.declare([orderPlaced]);
  await bus.start();
  const beside = await cli('inspect', '--url', `${shop.url()}?share=true`);
  await bus.stop();
  expect(beside).toMatchObject({ code: 0, out: expect.stringContaining('order.placed') });
});

it('and is not in the way of it: suspended after a restart of the application, it holds up nobody', async () => {
  await shop.application((bus) => bus.start());
  const first = new Keeper();
  await first.tell('keep', shop.path('bus.db'));
  const child = start(['inspect', '--url', `${shop.url()}?share=true`, '--watch', '--every', '1', '--json']);
  const looks = new Collector<string>();
  child.stdout.on('data', (part: Buffer) => looks.add(part.toString()));
  const result = ended(child);
  await looks.waitFor(1);
  await first.kill();
  // A look after the end of the host: by now whoever wanted to host does.
  await looks.waitFor(looks.values.length + 1);
  child.kill('SIGSTOP');
  const engine = createEmbeddedEngine({ path: shop.path('bus.db'), share: true });
  const bus = createBus({ engine, source: '/shop' });
  bus.declare([orderPlaced]);
  try {
    await bus.start();
    const { durability } = await bus.publish(orderPlaced, { orderId: 'A-1', total: 1 });
    expect(durability).toBe('disk');
  } finally {
    child.kill('SIGCONT');
    child.kill('SIGINT');
    await bus.stop();
  }
  expect((await result).code).toBe(0);
}, 30_000);

it('deletes nothing that the application keeps for later subscriptions', async () => {
  const long = 8 * 86_400_000;
  const past = { ...systemClock, now: () => systemClock.now() - long };
  const engine = () =>
    createEmbeddedEngine({ path: shop.path('bus.db'), keepUnsubscribedMs: Number.POSITIVE_INFINITY });
  const before = createBus({ engine: engine(), source: '/shop', clock: past });
  before.declare([orderPlaced]);
  await before.start();
  await publishOrders(before, 3);
  await before.stop();
  for (const url of [shop.url(), `${shop.url()}?share=true`])
    expect(await here('inspect', '--url', url)).toMatchObject({ code: 0 });
  const after = createBus({ engine: engine(), source: '/shop' });
  const seen = new Collector<number>();
  after.declare([orderPlaced]);
  after.subscribe(orderPlaced, {
    name: 'late',
    handler: ({ data }) => {
      seen.add(data.total);
      return ack();
    },
  });
  await after.start();
  await seen.waitFor(3);
  await after.stop();
  expect(seen.values).toEqual([0, 1, 2]);
});
