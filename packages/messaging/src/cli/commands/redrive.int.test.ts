/** `redrive`, `discard` and `edit-and-redrive` on an embedded file, and on Redis beside the application. On every engine: mend.int.test.ts. */
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { orderPlaced } from '../../../examples/channels.ts';
import { createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { Collector } from '../../conformance/fixture.ts';
import { createEmbeddedEngine, type EmbeddedConnection } from '../../engines/embedded/engine.ts';
import { createRedisEngine } from '../../engines/redis/engine.ts';
import { ack, deadLetter } from '../../outcome.ts';
import { cleanRedis } from '../../testing/example-leftovers.ts';
import {
  cli,
  ended,
  jsonOf,
  letterCount,
  module,
  type Said,
  start,
  useShopFile,
} from '../testing/fixture.ts';

const shop = useShopFile();

it('redrive counts with --dry-run, moves by filter, and says how many are left', async () => {
  await shop.withLetters(3);
  const dry = await shop.onFile('redrive', '--group', 'retry: the mail server is busy', '--dry-run');
  expect(dry).toMatchObject({ code: 0, err: expect.stringContaining('2 would be redriven; nothing was.') });
  expect(dry.out).toContain('the mail server is busy');
  const limited = await shop.onFile('redrive', '--channel', 'order.placed', '--limit', '1', '--json');
  expect(jsonOf(limited)).toEqual({ moved: 1, remaining: 2, aborted: false });
  const rest = await shop.onFile('redrive', '--all');
  expect(rest).toMatchObject({ code: 0, out: '2 redriven, 0 left\n' });
  const view = jsonOf<{ channels: { name: string; subscriptions: { name: string; ready: number }[] }[] }>(
    await shop.onFile('inspect', '--json'),
  );
  const placed = view.channels.find(({ name }) => name === 'order.placed');
  expect(placed?.subscriptions.find(({ name }) => name === 'mailer')?.ready).toBe(3);
});

it('discard needs the name again, and then forgets', async () => {
  await shop.withLetters(2);
  const unconfirmed = await shop.onFile('discard', '--channel', 'order.placed');
  expect(unconfirmed).toMatchObject({ code: 2, err: expect.stringContaining('--confirm order.placed') });
  expect((await shop.onFile('dead-letters', 'list', '--json')).out).toContain('mail server');
  const done = await shop.onFile('discard', '--channel', 'order.placed', '--confirm', 'order.placed');
  expect(done).toMatchObject({ code: 0, out: '2 discarded, 0 left\n' });
  expect(jsonOf(await shop.onFile('dead-letters', 'list', '--json'))).toEqual([]);
});

/** A module of a team that hands on all of another; apart from its line, because our own modules write their names out. */
const allOf = (from: string): string => `export ${'*'} from '${from}';`;

it('discard and edit-and-redrive note what was decided where the module exports a log, before they do it', async () => {
  await shop.withLetters(2);
  const noted = shop.path('noted.jsonl');
  const noting = shop.path('noting.mjs');
  writeFileSync(
    noting,
    `import { appendFileSync } from 'node:fs';
${allOf(pathToFileURL(module).href)}
const note = async (all) => all.forEach((one) => appendFileSync('${noted}', JSON.stringify(one) + '\\n'));
const close = async () => appendFileSync('${noted}', '"closed"\\n');
export const decisions = async () => ({ note, close, about: async () => [], since: async () => 0 });
`,
  );
  const [edited, discarded] = jsonOf<{ messageId: string }[]>(
    await shop.onFileHere('dead-letters', 'list', '--json'),
  ).map(({ messageId }) => messageId);
  writeFileSync(shop.path('data.json'), '{"orderId":"A-0","total":5}');
  const edit = ['edit-and-redrive', edited ?? '', '--data', shop.path('data.json'), '--channels', noting];
  const { out } = await shop.onFileHere(...edit);
  await shop.onFileHere('discard', '--all', '--confirm', 'all', '--channels', noting);
  const place = { channel: 'order.placed', subscription: 'mailer' };
  expect(
    readFileSync(noted, 'utf8')
      .trim()
      .split('\n')
      .map((line): unknown => JSON.parse(line)),
  ).toEqual([
    { kind: 'replaced', ...place, messageId: edited, replacedBy: out.trim(), at: expect.any(Number) },
    'closed',
    { kind: 'discarded', ...place, messageId: discarded, at: expect.any(Number) },
    'closed',
  ]);
});

it('discard and edit-and-redrive say that nobody notes it where the module has lost messages looked for', async () => {
  await shop.withLetters(2);
  const [alone, noting] = ['', 'export const decisions = async () => undefined;'].map((more, at) => {
    const path = shop.path(`module-${at}.mjs`);
    const sources = 'export const reconciliation = { recorded: [], settled: [] };';
    writeFileSync(path, `${allOf(pathToFileURL(module).href)}\n${sources}\n${more}\n`);
    return path;
  }) as [string, string];
  const unnoted = /exports "reconciliation" and no "decisions", so this is noted nowhere/;
  const discarding = async (channels: string, ...last: string[]) =>
    (await shop.onFileHere('discard', '--all', ...last, '--channels', channels)).err;
  expect(await discarding(noting, '--dry-run')).not.toMatch(unnoted);
  expect(await discarding(module, '--dry-run')).not.toMatch(unnoted);
  expect(await discarding(alone, '--dry-run')).toMatch(unnoted);
  writeFileSync(shop.path('data.json'), '{"orderId":"A-0","total":5}');
  const [letter] = jsonOf<{ id: string }[]>(await shop.onFileHere('dead-letters', 'list', '--json'));
  const edit = ['edit-and-redrive', letter?.id ?? '', '--data', shop.path('data.json'), '--channels', alone];
  expect(await shop.onFileHere(...edit)).toMatchObject({ code: 0, err: expect.stringMatching(unnoted) });
  expect((await shop.onFileHere('redrive', '--all', '--dry-run', '--channels', alone)).err).not.toMatch(
    unnoted,
  );
  expect(await discarding(alone, '--confirm', 'all')).toMatch(unnoted);
});

it('edit-and-redrive prints the data to be edited, and asks the contract before it publishes', async () => {
  await shop.withLetters(1);
  const [letter] = jsonOf<{ messageId: string }[]>(await shop.onFile('dead-letters', 'list', '--json'));
  const id = letter?.messageId ?? '';
  const printed = await shop.onFile('edit-and-redrive', id);
  expect(JSON.parse(printed.out)).toEqual({ orderId: 'A-0', total: 0 });
  const withData = (data: string, ...more: string[]): Promise<Said> =>
    ended(start(['edit-and-redrive', id, '--url', shop.url(), '--data', '-', ...more]), data);
  expect(await withData('{"orderId":"A-0","total":5}')).toMatchObject({
    code: 2,
    err: expect.stringContaining('Give --channels'),
  });
  expect(await withData('{"orderId":"A-0","total":-5}', '--channels', module)).toMatchObject({
    code: 2,
    err: expect.stringContaining('total'),
  });
  const replaced = await withData('{"orderId":"A-0","total":5}', '--channels', module);
  expect(replaced.code).toBe(0);
  const [waiting] = jsonOf<{ message: { id: string; data: unknown; headers: object } }[]>(
    await shop.onFile('peek', '--channel', 'order.placed', '--subscription', 'mailer', '--json'),
  );
  expect(waiting?.message).toMatchObject({
    id: replaced.out.trim(),
    data: { orderId: 'A-0', total: 5 },
    causationId: id,
  });
  expect(jsonOf(await shop.onFile('dead-letters', 'list', '--json'))).toEqual([]);
});

it.each([
  ['text that is no JSON', '{"half": ', '{"half": \n'],
  ['JSON that is no CloudEvent', '{"orderId":"A-1"}', '{"orderId":"A-1"}\n'],
  [
    'a CloudEvent without an id',
    '{"specversion":"1.0","type":"order.placed","source":"/s","data":{"orderId":"A-1"}}',
    '{\n  "orderId": "A-1"\n}\n',
  ],
])('edit-and-redrive shows a malformed letter, %s, and takes the correction', async (_name, raw, shown) => {
  await shop.application(async (bus) => {
    bus.subscribe(orderPlaced, { name: 'mailer', handler: () => ack() });
    await bus.start();
  });
  const engine = createEmbeddedEngine({ path: shop.path('bus.db') });
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  await (connection as EmbeddedConnection).publishRaw('order.placed', raw);
  await connection.close();
  await shop.application(async (bus) => {
    bus.subscribe(orderPlaced, { name: 'mailer', handler: () => ack() });
    await bus.start();
    await letterCount(bus, 1);
  });
  const [letter] = jsonOf<{ id: string }[]>(await shop.onFile('dead-letters', 'list', '--json'));
  const id = letter?.id ?? '';
  expect(await shop.onFile('edit-and-redrive', id)).toMatchObject({ code: 0, out: shown });
  const edit = ['edit-and-redrive', id, '--url', shop.url(), '--channels', module, '--data', '-'];
  const replaced = await ended(start(edit), '{"orderId":"A-1","total":5}');
  expect(replaced).toMatchObject({ code: 0, err: '' });
  expect(jsonOf(await shop.onFile('dead-letters', 'list', '--json'))).toEqual([]);
});

const redisUrl = process.env['REDIS_URL'] ?? '';

describe.skipIf(redisUrl === '')('on Redis (needs REDIS_URL)', () => {
  const prefix = `cli-${process.pid}`;
  const here = ['--url', `${redisUrl}?prefix=${prefix}`];
  afterEach(() => cleanRedis(redisUrl, prefix));

  it('looks and mends while the application runs, and knows channels without a module', async () => {
    const bus = createBus({ engine: createRedisEngine({ url: redisUrl, prefix }), source: '/shop' });
    bus.declare([orderPlaced]);
    let isMended = false;
    const handled = new Collector<string>();
    bus.subscribe(orderPlaced, {
      name: 'mailer',
      handler: ({ id }) => {
        if (!isMended) return deadLetter('no such address');
        handled.add(id);
        return ack();
      },
    });
    await bus.start();
    const { id } = await bus.publish(orderPlaced, { orderId: 'A-1', total: 1 });
    await letterCount(bus, 1);
    expect((await cli('inspect', ...here)).out).toMatch(/order\.placed +mailer +0 +0 +0 +0 +\S+ +1/);
    isMended = true;
    expect(await cli('redrive', '--channel', 'order.placed', ...here)).toMatchObject({
      code: 0,
      out: '1 redriven, 0 left\n',
    });
    expect(await handled.waitFor(1)).toEqual([id]);
    await bus.stop();
  });
});
