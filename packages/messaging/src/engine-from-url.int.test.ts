/** One URL, one engine; and a clear word where there is none. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { createBus } from './bus.ts';
import { openExisting } from './cli/session.ts';
import { engineFromUrl, engineLoadedBy } from './engine-from-url.ts';
import { withoutSecret } from './without-secret.ts';

it('opens the embedded file that the URL names', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'from-url-'));
  const path = join(folder, 'the bus.db');
  const engine = await engineFromUrl(`sqlite:${encodeURI(path)}`);
  const bus = createBus({ engine, source: '/t' });
  await bus.start();
  expect((await bus.view()).engine).toBe('embedded');
  await bus.stop();
  expect(existsSync(path)).toBe(true);
  rmSync(folder, { recursive: true });
});

it.each([
  ['amqp://localhost', 'rabbitmq'],
  ['amqps://user:secret@localhost/vhost', 'rabbitmq'],
  ['redis://localhost:6379/1?prefix=shop', 'redis'],
  ['rediss://localhost', 'redis'],
  ['redis-lists://localhost:6379/1?prefix=shop', 'redis-lists'],
  ['rediss-lists://localhost', 'redis-lists'],
  ['redis-pubsub://localhost:6379?prefix=shop', 'redis-pubsub'],
  ['rediss-pubsub://localhost', 'redis-pubsub'],
  ['kafka://one:9092,two:9092', 'kafka'],
])('%s is the engine %s', async (url, name) => {
  expect((await engineFromUrl(url)).name).toBe(name);
});

it('gives address and prefix to the factory, and every other parameter stays in the address', async () => {
  const given: unknown[] = [];
  const load = async (): Promise<unknown> => ({
    createEmbeddedEngine: (options: unknown) => given.push(options),
    createKafkaEngine: (options: unknown) => given.push(options),
    createRabbitEngine: (options: unknown) => given.push(options),
    createRedisListsEngine: (options: unknown) => given.push(options),
    createRedisBroadcastEngine: (options: unknown) => given.push(options),
  });
  await engineLoadedBy(load, 'kafka://one:9092,two:9092');
  await engineLoadedBy(load, 'amqp://broker/v?heartbeat=5&prefix=shop.');
  await engineLoadedBy(load, 'rediss-lists://u:p-lists:@host/1?prefix=shop');
  await engineLoadedBy(load, 'rediss-pubsub://u:p-pubsub:@host?prefix=shop');
  await engineLoadedBy(load, 'sqlite:./bus.db?share=true');
  expect(given).toEqual([
    { url: 'kafka://one:9092,two:9092' },
    { url: 'amqp://broker/v?heartbeat=5', prefix: 'shop.' },
    { url: 'rediss://u:p-lists:@host/1', prefix: 'shop' },
    { url: 'rediss://u:p-pubsub:@host', prefix: 'shop' },
    { path: './bus.db', share: true },
  ]);
});

it('names the package of an engine whose client is not installed, and lets other faults through', async () => {
  const missing = Object.assign(new Error("Cannot find package 'amqplib' imported from x"), {
    code: 'ERR_MODULE_NOT_FOUND',
  });
  await expect(engineLoadedBy(() => Promise.reject(missing), 'amqp://broker')).rejects.toMatchObject({
    code: 'DB_MSG_PEER_MISSING',
    message: expect.stringContaining('npm install amqplib'),
  });
  // Another package that is missing, asked for from a folder whose name says the same.
  const deeper = Object.assign(
    new Error("Cannot find package 'lodash' imported from /node_modules/amqplib/lib/connect.js"),
    { code: 'ERR_MODULE_NOT_FOUND' },
  );
  await expect(engineLoadedBy(() => Promise.reject(deeper), 'amqp://broker')).rejects.toBe(deeper);
  const other = new SyntaxError('broken');
  await expect(engineLoadedBy(() => Promise.reject(other), 'amqp://broker')).rejects.toBe(other);
});

it('refuses what names no engine, without showing its password', async () => {
  await expect(engineFromUrl('nats://user:secret@host')).rejects.toMatchObject({
    code: 'DB_MSG_INVALID_OPTIONS',
    message: expect.not.stringContaining('secret'),
  });
  await expect(engineFromUrl('sqlite:./bus.db?mode=ro')).rejects.toMatchObject({
    code: 'DB_MSG_INVALID_OPTIONS',
    message: expect.stringContaining('no option "mode"; it takes share'),
  });
  await expect(engineFromUrl('sqlite:')).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
});

it.each([
  ['redis://:pw@h:1', 'redis://h:1'],
  ['redis://h:1/0', 'redis://h:1/0'],
  ['amqp://u:se@cr@et@h/v', 'amqp://h/v'],
  ['amqp://u:se/cr@et@h/v', 'amqp://h/v'],
  ['kafka://u:secret@one:9092,u:secret@two:9092', 'kafka://two:9092'],
  ['nats:u:secret@h', 'nats:h'],
])('of %s it shows %s', (url, shown) => {
  expect(withoutSecret(url)).toBe(shown);
});

it.each([
  ['redis://host?prefx=a', 'prefx'],
  ['sqlite:./bus.db?prefix=x', 'prefix'],
  ['kafka://one:9092?share=true', 'share'],
  ['amqp://broker/v?hartbeat=5', 'hartbeat'],
])('refuses the option that no such engine has: %s', async (url, option) => {
  await expect(engineFromUrl(url)).rejects.toMatchObject({
    code: 'DB_MSG_INVALID_OPTIONS',
    message: expect.stringContaining(`no option "${option}"`),
  });
});

it.each(['redis', 'redis-lists', 'redis-pubsub'])(
  'refuses an escape in a password of %s: that is none, without showing it',
  async (scheme) => {
    const engine = await engineFromUrl(`${scheme}://user:secret%zz@127.0.0.1:1`);
    const bus = createBus({ engine, source: '/t' });
    const error: unknown = await bus.start().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
    expect(inspect(error)).not.toContain('secret');
  },
);

it('refuses an escape in a path that is none', async () => {
  const refused = { code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining('write %25') };
  await expect(engineFromUrl('sqlite:./a%zz.db')).rejects.toMatchObject(refused);
  await expect(openExisting('sqlite:./a%zz.db')).rejects.toMatchObject(refused);
});

it('refuses an option that is given twice', async () => {
  await expect(engineFromUrl('redis://host?prefix=a&prefix=b')).rejects.toMatchObject({
    code: 'DB_MSG_INVALID_OPTIONS',
  });
});

it.each(['amqp://broker?prefix=', 'kafka://one:9092?prefix=', 'redis://host?prefix='])(
  'an empty prefix is one: %s',
  async (url) => {
    await expect(engineFromUrl(url)).resolves.toHaveProperty('name');
  },
);
