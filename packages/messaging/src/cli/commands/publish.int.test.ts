/** `publish`, `peek` and `replay` on an embedded file: what a person puts in, what waits, and what is handed out again. */
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { orderPlaced } from '../../../examples/channels.ts';
import { Collector } from '../../conformance/fixture.ts';
import { createEmbeddedEngine } from '../../engines/embedded/engine.ts';
import { ack } from '../../outcome.ts';
import {
  ended,
  jsonOf,
  kept,
  keptPlace,
  module,
  publishKept,
  type Said,
  start,
  useShopFile,
  withReport,
} from '../testing/fixture.ts';

const shop = useShopFile();

it('replay tells how many wait, and refuses a time in the future before it skips them', async () => {
  const engine = createEmbeddedEngine({ path: shop.path('bus.db') });
  await withReport(engine, new Set(), () => Promise.resolve());
  await shop.application(async (bus) => {
    bus.declare([kept]);
    await bus.start();
    await publishKept(bus, 1, 2, 3);
  });
  const replay = (from: string, ...more: string[]) =>
    shop.onFileHere('replay', ...keptPlace, '--from', from, ...more);
  for (const last of [['--confirm', 'report'], ['--dry-run']])
    expect(await replay('2999-01-01T00:00:00Z', ...last)).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringMatching(/a time in the future would skip all that waits\n.*--from latest/),
    });
  expect(jsonOf(await replay('latest', '--dry-run', '--json'))).toMatchObject({ moved: false, waiting: 3 });
  expect((await replay('latest', '--dry-run')).err).toBe(
    '3 waiting there now: all of it would be skipped.\n',
  );
  expect((await replay('earliest', '--dry-run')).err).toContain('3 waiting there now: none of it would');
  // Where the module has lost messages looked for, what is skipped has to be noted.
  const alone = shop.path('alone.mjs');
  writeFileSync(
    alone,
    `export { orderPlaced } from '${pathToFileURL(module).href}';\nexport const reconciliation = { recorded: [], settled: [] };\n`,
  );
  const telling = async (from: string) =>
    (await replay(from, '--dry-run', '--channels', alone)).err.includes('noted nowhere');
  expect([await telling('latest'), await telling('2020-01-01')]).toEqual([true, true]);
  expect(await telling('earliest')).toBe(false);
  expect(await replay('latest', '--confirm', 'report')).toMatchObject({ code: 0 });
  expect(jsonOf(await replay('latest', '--dry-run', '--json'))).toMatchObject({ waiting: 0 });
});

it('peek shows what waits, and replay hands out again what the channel keeps', async () => {
  const seen = new Collector<number>();
  const engine = () => createEmbeddedEngine({ path: shop.path('bus.db') });
  await withReport(engine(), seen, async (bus) => {
    await publishKept(bus, 1, 2, 3);
    await seen.waitFor(3);
  });
  expect((await shop.onFile('peek', ...keptPlace)).out).toBe('(none)\n');
  const replayed = await shop.onFile('replay', ...keptPlace, '--from', 'earliest', '--confirm', 'report');
  expect(replayed).toMatchObject({ code: 0, out: 'order.kept / report goes on from earliest\n' });
  const peeked = await shop.onFile('peek', ...keptPlace, '--limit', '2');
  expect(peeked.out).toMatch(/\{"n":1\}[\s\S]*\{"n":2\}\n$/);
  await withReport(engine(), seen, () => seen.waitFor(6));
  expect(seen.values).toEqual([1, 2, 3, 1, 2, 3]);
});

it('publish checks by the contract of the module, and the application gets the message', async () => {
  await shop.withLetters(1);
  const publish = (data: string, ...more: string[]): Promise<Said> =>
    ended(start(['publish', '--channel', 'order.placed', '--url', shop.url(), ...more]), data);
  const wrong = await publish('{"orderId":"B-0"}', '--channels', module);
  expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining("'total'") });
  const dry = await publish('{"orderId":"B-1","total":2}', '--channels', module, '--dry-run');
  expect(dry).toMatchObject({ code: 0, err: expect.stringContaining('Nothing was published.') });
  const sent = await publish('{"orderId":"B-2","total":2}', '--channels', module, '--header', 'tenant=acme');
  expect(sent).toMatchObject({ code: 0, err: expect.stringContaining('stored: disk') });
  const unchecked = await publish('{"orderId":"B-3","total":3}', '--id', 'mine');
  expect(unchecked).toMatchObject({ code: 0, out: 'mine\n' });
  const got = new Collector<{ id: string; orderId: string; tenant: string | undefined }>();
  await shop.application(async (bus) => {
    bus.subscribe(orderPlaced, {
      name: 'report',
      handler: ({ id, data, headers }) => {
        got.add({ id, orderId: data.orderId, tenant: headers['tenant'] });
        return ack();
      },
    });
    await bus.start();
    await got.waitFor(3);
  });
  expect(got.values.slice(1)).toEqual([
    { id: sent.out.trim(), orderId: 'B-2', tenant: 'acme' },
    { id: 'mine', orderId: 'B-3', tenant: undefined },
  ]);
});
