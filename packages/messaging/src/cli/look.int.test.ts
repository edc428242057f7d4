/** Looking makes nothing on RabbitMQ and Kafka, which know only what was declared to them, and an answer that would be untrue is refused. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Admin } from '@platformatic/kafka';
import { connect } from 'amqplib';
import { createClient } from 'redis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { orderPlaced } from '../../examples/channels.ts';
import { createBus } from '../bus.ts';
import { engineFromUrl } from '../engine-from-url.ts';
import { clientOf } from '../engines/kafka/conformance-fixture.ts';
import { createEmbeddedEngine } from '../engines/embedded/engine.ts';
import { createRabbitEngine } from '../engines/rabbitmq/engine.ts';
import { createLadder } from '../engines/rabbitmq/delay-ladder.ts';
import { namesOf } from '../engines/rabbitmq/names.ts';
import { cleanRedis } from '../testing/example-leftovers.ts';
import { giveUpOn, here, inProcess, module, type Said } from './testing/fixture.ts';

const prefix = `look${process.pid}.`;

const plainSpec = {
  order: 'none',
  onFailure: 'skip',
  priorityLevels: 1,
  ephemeral: false,
  routing: 'fanout',
  keepMs: undefined,
} as const;

async function cleanRabbit(url: string): Promise<void> {
  const model = await connect(url);
  const channel = await model.createChannel();
  const names = namesOf(prefix, 8);
  const name = 'order.placed';
  for (const queue of [
    names.unclaimed(name),
    names.dead(name, 'mailer'),
    ...names.notes({ ...plainSpec, name }, 'mailer'),
    `${prefix}${name}/s/mailer`,
  ])
    await channel.deleteQueue(queue);
  for (const exchange of [names.exchange(name), names.unclaimed(name), names.hints])
    await channel.deleteExchange(exchange);
  await createLadder(prefix).remove(channel);
  await model.close();
}

/** Of the channels that the module has; the exchanges that the engine keeps for itself are there since the first look. */
async function exchangesOn(url: string): Promise<readonly string[]> {
  const model = await connect(url);
  const found: string[] = [];
  for (const name of ['mail.wanted', 'order.placed', 'price.asked']) {
    const channel = await model.createChannel();
    channel.on('error', () => {});
    await channel.checkExchange(`${prefix}${name}`).then(
      () => found.push(name),
      (error: { readonly code?: unknown }) => expect(error.code).toBe(404),
    );
  }
  await model.close();
  return found;
}

async function topicsOn(url: string, remove: boolean): Promise<readonly string[]> {
  const admin = new Admin(clientOf(url));
  try {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix));
    if (remove && topics.length > 0) await admin.deleteTopics({ topics });
    return topics;
  } finally {
    await admin.close();
  }
}

it('inspect refuses when nothing that --channels names is there, and shows all when something is', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'look-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'bus.db');
  const bus = createBus({ engine: createEmbeddedEngine({ path }), source: '/shop' });
  bus.declare([orderPlaced]);
  await bus.start();
  await bus.stop();
  const other = join(folder, 'other.mjs');
  const define = new URL('../channel.ts', import.meta.url).href;
  writeFileSync(
    other,
    `import { defineChannel } from '${define}';
    export const gone = defineChannel({ name: 'order.gone', version: 1, schema: {} });`,
  );
  const look = (from: string): Promise<Said> =>
    here('inspect', '--url', `sqlite:${path}`, '--channels', from);
  const refused = await look(other);
  expect(refused).toMatchObject({ code: 2, out: '' });
  expect(refused.err).toMatch(/embedded has no channel of --channels: order\.gone[\s\S]*order\.placed/);
  expect(await look(module)).toMatchObject({ code: 0, out: expect.stringContaining('order.placed') });
});

/** One channel that is there and one that is not, and a mistyped subscription of the one that is. */
function mistyped(): string {
  const folder = mkdtempSync(join(tmpdir(), 'look-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'channels.mjs');
  writeFileSync(
    path,
    `import { defineChannel } from '${new URL('../channel.ts', import.meta.url).href}';
    import { orderPlaced } from '${pathToFileURL(module).href}';
    export { orderPlaced };
    export const gone = defineChannel({ name: 'order.gone', version: 1, schema: {} });
    export const subscriptions = ['mailer', 'mialer'].map((name) => ({ channel: orderPlaced, name }));\n`,
  );
  return path;
}

/** What the session told is not told again. */
const toldOnce = (err: string, names: readonly string[]): void => {
  for (const name of names) expect(err.split(name).length - 1, err).toBe(1);
};

const listing = [
  { name: 'a file', url: `sqlite:${join(tmpdir(), prefix)}db`, variable: 'nothing' },
  { name: 'Redis', url: process.env['REDIS_URL'] ?? '', variable: 'REDIS_URL' },
];
for (const { name, url: address, variable } of listing)
  it.skipIf(address === '')(
    `inspect on ${name} names what of the module is missing (needs ${variable})`,
    async () => {
      const isFile = address.startsWith('sqlite:');
      const url = isFile ? address : `${address}?prefix=${prefix}`;
      const files = ['', '-wal', '-shm'].map((end) => `${join(tmpdir(), prefix)}db${end}`);
      onTestFinished(() =>
        isFile ? files.forEach((file) => rmSync(file, { force: true })) : cleanRedis(address, prefix),
      );
      await giveUpOn(await engineFromUrl(url), 0);
      const told = await here('inspect', '--url', url, '--channels', mistyped());
      expect(told).toMatchObject({ code: 0, out: expect.stringContaining('mailer') });
      expect(told.err).toContain('Not there under this URL and prefix: order.gone, order.placed / mialer.');
      const right = await here('inspect', '--url', url);
      expect(right.err).not.toContain('Not there');
    },
  );

const rabbitUrl = process.env['RABBITMQ_URL'] ?? '';

it.skipIf(rabbitUrl === '')(
  'a queue of others is looked at when the module names it (needs RABBITMQ_URL)',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'look-'));
    const queue = `${prefix}legacy`;
    const existing = { 'order.placed': { queue } };
    const path = join(folder, 'channels.mjs');
    const all = `export * from '${pathToFileURL(module).href}';`;
    writeFileSync(path, `${all}\nexport const existing = ${JSON.stringify(existing)};\n`);
    const model = await connect(rabbitUrl);
    const channel = await model.createChannel();
    await channel.assertQueue(queue, { durable: true });
    onTestFinished(async () => {
      await channel.deleteQueue(queue);
      await model.close();
      await cleanRabbit(rabbitUrl);
      rmSync(folder, { recursive: true });
    });
    const engine = createRabbitEngine({ url: rabbitUrl, prefix, existing });
    await giveUpOn(engine, 1);
    const list = (from: string): Promise<Said> =>
      here('dead-letters', 'list', '--channels', from, '--url', `${rabbitUrl}?prefix=${prefix}`);
    expect(await list(path)).toMatchObject({ code: 0, out: expect.stringContaining('no such address') });
    expect(await list(module)).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('"existing"'),
    });
  },
);

/** A module that exports these options of the engine beside the channels of the others. */
function withEngineOptions(engineOptions: Readonly<Record<string, unknown>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'look-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'channels.mjs');
  const all = `export * from '${pathToFileURL(module).href}';`;
  writeFileSync(path, `${all}\nexport const engineOptions = ${JSON.stringify(engineOptions)};\n`);
  return path;
}

it.skipIf(rabbitUrl === '')(
  'channels that were made with other settings are looked at with those that the module exports (needs RABBITMQ_URL)',
  async () => {
    const settings = { queueType: 'classic', keepUnsubscribedMs: 60_000 } as const;
    onTestFinished(() => cleanRabbit(rabbitUrl));
    await giveUpOn(createRabbitEngine({ url: rabbitUrl, prefix, ...settings }), 1);
    const look = (from: string): Promise<Said> =>
      here('dead-letters', 'list', '--channels', from, '--url', `${rabbitUrl}?prefix=${prefix}`);
    expect(await look(module)).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('export const engineOptions'),
    });
    const right = withEngineOptions({ ...settings, prefix });
    expect(await look(right)).toMatchObject({ code: 0, out: expect.stringContaining('no such address') });
    const elsewhere = withEngineOptions({ ...settings, prefix: 'elsewhere.' });
    expect(await look(elsewhere)).toMatchObject({ code: 2, err: expect.stringContaining('?prefix=') });
    const list = withEngineOptions(['classic'] as never);
    expect(await look(list)).toMatchObject({ code: 2, err: expect.stringContaining('"engineOptions"') });
  },
);

const listsUrl = (process.env['REDIS_URL'] ?? '').replace(/^redis:/, 'redis-lists:');

it.skipIf(listsUrl === '')(
  'a list of a team that the module names is the one that is published to (needs REDIS_URL)',
  async () => {
    const list = `${prefix}legacy`;
    const from = withEngineOptions({ lists: { 'order.placed': list } });
    const redis = await createClient({ url: process.env['REDIS_URL'] ?? '' }).connect();
    onTestFinished(async () => {
      await redis.del(list);
      redis.destroy();
      await cleanRedis(process.env['REDIS_URL'] ?? '', prefix);
    });
    const data = ['--data', '-', '--channel', 'order.placed'];
    const at = ['--url', `${listsUrl}?prefix=${prefix}`];
    const order = JSON.stringify({ orderId: 'A-1', total: 1 });
    const said = await inProcess(['publish', ...data, '--channels', from, ...at], { stdin: order });
    expect(said).toMatchObject({ code: 0 });
    expect(await redis.lLen(list)).toBe(1);
  },
);

/** They know only what was declared to them: an empty answer would be untrue, and declaring would make what a typo names. */
const servers = ['RABBITMQ_URL', 'KAFKA_URL'].map(
  (variable) => [variable, process.env[variable] ?? ''] as const,
);

describe.each(servers)('on a server that cannot list (needs %s)', (variable, address) => {
  const at = (prefix: string): string[] => ['--url', `${address}?prefix=${prefix}`];
  const isKafka = variable === 'KAFKA_URL';

  it
    .skipIf(address === '')
    .each([
      ['inspect'],
      ['dead-letters', 'groups'],
      ['dead-letters', 'list'],
      ['dead-letters', 'show', 'x'],
      ['redrive', '--all'],
      ['discard', '--all', '--dry-run'],
    ])('%j needs --channels', async (...words) => {
    expect(await here(...words, ...at(prefix))).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('Give --channels'),
    });
  });

  it.skipIf(address === '')('looking makes nothing, and looks at what is there', async () => {
    const look = (): Promise<Said> => here('inspect', '--channels', module, ...at(prefix));
    for (const _ of [1, 2]) {
      const empty = await look();
      expect(empty).toMatchObject({ code: 2, out: '' });
      expect(empty.err).toContain('has no channel of --channels: mail.wanted, order.placed, price.asked');
    }
    expect(await (isKafka ? topicsOn(address, false) : exchangesOn(address))).toEqual([]);
    onTestFinished(async () => void (await (isKafka ? topicsOn(address, true) : cleanRabbit(address))));
    const engine = await engineFromUrl(`${address}?prefix=${prefix}`);
    await giveUpOn(engine, 1);
    const found = await look();
    expect(found.out).toMatch(/order\.placed +mailer .* 1 +/);
    expect(found).toMatchObject({ code: 0 });
    expect(found.out).not.toContain('mail.wanted');
    expect(found.err).toContain('Not there under this URL and prefix: mail.wanted, price.asked');
    const wrong = await here('inspect', '--channels', mistyped(), ...at(prefix));
    expect(wrong).toMatchObject({ code: 0, out: expect.stringContaining('mailer') });
    toldOnce(wrong.err, ['order.gone', 'order.placed / mialer']);
    expect(wrong.err).not.toContain('names no subscriptions');
    const bare = join(dirname(mistyped()), 'bare.mjs');
    writeFileSync(bare, `export { orderPlaced } from '${pathToFileURL(module).href}';\n`);
    for (const words of [
      ['inspect'],
      ['dead-letters', 'groups'],
      ['dead-letters', 'list'],
      ['redrive', '--all', '--dry-run'],
    ]) {
      const { code, err } = await here(...words, '--channels', bare, ...at(prefix));
      expect({ words, code, told: err.includes('names no subscriptions') }).toEqual({
        words,
        code: 0,
        told: !isKafka,
      });
    }
    const nowhere = `${prefix}else.`;
    for (const words of [
      ['inspect'],
      ['dead-letters', 'list'],
      ['dead-letters', 'groups'],
      ['redrive', '--all'],
    ])
      expect(await here(...words, '--channels', module, ...at(nowhere))).toMatchObject({
        code: 2,
        out: '',
        err: expect.stringContaining('has no channel of --channels: mail.wanted, order.placed, price.asked'),
      });
    const groups = await here('dead-letters', 'groups', '--channels', module, ...at(prefix));
    expect(groups.out).toContain('no such address');
  });
});
