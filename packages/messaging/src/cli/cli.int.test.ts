/** Every command of `doorbuster-bus`, as a process on an embedded file, and what each says to wrong input: what, why, what to do. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mailWanted, orderPlaced } from '../../examples/channels.ts';
import { type Bus, createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { systemClock } from '../clock.ts';
import { Collector, eventually } from '../conformance/fixture.ts';
import { openClient } from '../redis/client.ts';
import { deleteAll } from '../redis/testing/keys.ts';
import { createRedisEngine } from '../engines/redis/engine.ts';
import { createEmbeddedEngine, type EmbeddedConnection } from '../engines/embedded/engine.ts';
import { ack, deadLetter, retry } from '../outcome.ts';
import { commands } from './commands.ts';
import { run } from './run.ts';
import { openExisting } from './session.ts';

const main = fileURLToPath(new URL('./main.ts', import.meta.url));
const module = fileURLToPath(new URL('../../examples/channels.ts', import.meta.url));
let folder: string;
let url: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bus-cli-'));
  url = `sqlite:${join(folder, 'bus.db')}`;
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(args: readonly string[], env: Record<string, string> = {}): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [main, ...args], {
    env: { ...process.env, DOORBUSTER_BUS_URL: '', ...env },
  });
}

async function ended(child: ChildProcessWithoutNullStreams, stdin = ''): Promise<Result> {
  let out = '';
  let err = '';
  child.stdout.on('data', (part: Buffer) => {
    out += part.toString();
  });
  child.stderr.on('data', (part: Buffer) => {
    err += part.toString();
  });
  child.stdin.end(stdin);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

const cli = (...args: string[]): Promise<Result> => ended(start(args));
const onFile = (...args: string[]): Promise<Result> => cli('--url', url, ...args);
const jsonOf = <T>({ out }: Result): T => JSON.parse(out) as T;

/** The same without a process, for what says no before it does anything. */
async function inProcess(...args: string[]): Promise<Result> {
  let out = '';
  let err = '';
  const code = await run(args, {
    env: {},
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    stdin: { isTTY: false, read: async () => '' },
    clock: systemClock,
    signal: new AbortController().signal,
    openEngine: openExisting,
    version: '0.0.0',
  });
  return { code, out, err };
}

const onFileHere = (...args: string[]): Promise<Result> => inProcess('--url', url, ...args);

/** The application: it owns the file while it runs. */
async function application(work: (bus: Bus) => Promise<void>): Promise<void> {
  const bus = createBus({ engine: createEmbeddedEngine({ path: join(folder, 'bus.db') }), source: '/shop' });
  bus.declare([orderPlaced, mailWanted]);
  await work(bus);
  await bus.stop();
}

/** `count` dead letters of the mailer, and one message that waits. */
const withLetters = (count: number): Promise<void> =>
  application(async (bus) => {
    bus.subscribe(orderPlaced, { name: 'report', handler: () => new Promise<never>(() => {}) });
    const failing = bus.subscribe(orderPlaced, {
      name: 'mailer',
      retries: { immediate: 0, delayed: [] },
      handler: ({ data }) =>
        data.total === 1 ? deadLetter('no such address') : retry({ reason: 'the mail server is busy' }),
    });
    await bus.start();
    await bus.publishBatch(
      orderPlaced,
      Array.from({ length: count }, (_, total) => ({ data: { orderId: `A-${total}`, total } })),
    );
    await eventually(
      () => bus.deadLetters.groups(),
      (groups) => groups.reduce((sum, one) => sum + one.count, 0) === count,
      'the dead letters',
    );
    await failing.stop();
    await bus.stop({ drainMs: 0 });
  });

describe('looking', () => {
  it('inspect shows backlog and dead letters as a table and as JSON', async () => {
    await withLetters(3);
    const table = await onFile('inspect');
    expect(table).toMatchObject({ code: 0, err: expect.stringContaining('embedded') });
    expect(table.out).toMatch(/order\.placed +mailer +0 +0 +0 +0 +- +3/);
    expect(table.out).toMatch(/order\.placed +report +3/);
    const json = jsonOf<{ engine: string; capabilities: object }>(await onFile('inspect', '--json'));
    expect(json).toMatchObject({ engine: 'embedded', capabilities: { confirm: 'disk' } });
    expect((await onFile('inspect', '--quiet')).err).toBe('');
  });

  it('inspect --watch looks again until Ctrl-C, one JSON document a line', async () => {
    await withLetters(1);
    const child = start(['inspect', '--url', url, '--watch', '--every', '1', '--json']);
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

  it('dead-letters groups, list and show tell the causes, the letters and one with its history', async () => {
    await withLetters(3);
    const groups = await onFile('dead-letters', 'groups');
    expect(groups.out).toMatch(/2 +order\.placed +mailer +retry: the mail server is busy/);
    const list = await onFile('dead-letters', 'list', '--group', 'deadLetter: no such address', '--json');
    const letters = jsonOf<{ id: string; messageId: string }[]>(list);
    expect(letters).toHaveLength(1);
    for (const id of [letters[0]?.id ?? '', letters[0]?.messageId ?? '']) {
      const shown = await onFile('dead-letters', 'show', id);
      expect(shown.out).toContain('no such address');
      expect(shown.out).toMatch(/1 {2}\d{4}-.* deadLetter: no such address/);
    }
    expect((await onFile('dead-letters', 'list', '--limit', '1')).err).toContain(
      'There may be more: --after',
    );
  });
});

describe('the log', () => {
  it('peek shows what waits, and replay hands out again what the channel keeps', async () => {
    const kept = defineChannel({
      name: 'kept',
      version: 1,
      schema: Type.Object({ n: Type.Integer() }),
      requires: { replay: { keepMs: 3_600_000 } },
    });
    const place = ['--channel', 'kept', '--subscription', 'report'];
    const seen = new Collector<number>();
    const open = (): Bus => {
      const bus = createBus({ engine: createEmbeddedEngine({ path: join(folder, 'bus.db') }), source: '/s' });
      bus.declare([kept]);
      bus.subscribe(kept, {
        name: 'report',
        handler: ({ data }) => {
          seen.add(data.n);
          return ack();
        },
      });
      return bus;
    };
    const first = open();
    await first.start();
    for (const n of [1, 2, 3]) await first.publish(kept, { n });
    await seen.waitFor(3);
    await first.stop();
    expect((await onFile('peek', ...place)).out).toBe('(none)\n');
    const replayed = await onFile('replay', ...place, '--from', 'earliest', '--confirm', 'report');
    expect(replayed).toMatchObject({ code: 0, out: 'kept / report goes on from earliest\n' });
    const peeked = await onFile('peek', ...place, '--limit', '2');
    expect(peeked.out).toMatch(/\{"n":1\}[\s\S]*\{"n":2\}\n$/);
    const second = open();
    await second.start();
    await seen.waitFor(6);
    await second.stop();
    expect(seen.values).toEqual([1, 2, 3, 1, 2, 3]);
  });
});

describe('mending', () => {
  it('redrive counts with --dry-run, moves by filter, and says how many are left', async () => {
    await withLetters(3);
    const dry = await onFile('redrive', '--group', 'retry: the mail server is busy', '--dry-run');
    expect(dry).toMatchObject({ code: 0, err: expect.stringContaining('2 would be redriven; nothing was.') });
    expect(dry.out).toContain('the mail server is busy');
    const limited = await onFile('redrive', '--channel', 'order.placed', '--limit', '1', '--json');
    expect(jsonOf(limited)).toEqual({ moved: 1, remaining: 2, aborted: false });
    const rest = await onFile('redrive', '--all');
    expect(rest).toMatchObject({ code: 0, out: '2 redriven, 0 left\n' });
    const view = jsonOf<{ channels: { name: string; subscriptions: { name: string; ready: number }[] }[] }>(
      await onFile('inspect', '--json'),
    );
    const placed = view.channels.find(({ name }) => name === 'order.placed');
    expect(placed?.subscriptions.find(({ name }) => name === 'mailer')?.ready).toBe(3);
  });

  it('discard needs the name again, and then forgets', async () => {
    await withLetters(2);
    const unconfirmed = await onFile('discard', '--channel', 'order.placed');
    expect(unconfirmed).toMatchObject({ code: 2, err: expect.stringContaining('--confirm order.placed') });
    expect((await onFile('dead-letters', 'list', '--json')).out).toContain('mail server');
    const done = await onFile('discard', '--channel', 'order.placed', '--confirm', 'order.placed');
    expect(done).toMatchObject({ code: 0, out: '2 discarded, 0 left\n' });
    expect(jsonOf(await onFile('dead-letters', 'list', '--json'))).toEqual([]);
  });

  it('edit-and-redrive prints the data to be edited, and asks the contract before it publishes', async () => {
    await withLetters(1);
    const [letter] = jsonOf<{ messageId: string }[]>(await onFile('dead-letters', 'list', '--json'));
    const id = letter?.messageId ?? '';
    const printed = await onFile('edit-and-redrive', id);
    expect(JSON.parse(printed.out)).toEqual({ orderId: 'A-0', total: 0 });
    const withData = (data: string, ...more: string[]): Promise<Result> =>
      ended(start(['edit-and-redrive', id, '--url', url, '--data', '-', ...more]), data);
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
      await onFile('peek', '--channel', 'order.placed', '--subscription', 'mailer', '--json'),
    );
    expect(waiting?.message).toMatchObject({
      id: replaced.out.trim(),
      data: { orderId: 'A-0', total: 5 },
      causationId: id,
    });
    expect(jsonOf(await onFile('dead-letters', 'list', '--json'))).toEqual([]);
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
    await application(async (bus) => {
      bus.subscribe(orderPlaced, { name: 'mailer', handler: () => ack() });
      await bus.start();
    });
    const engine = createEmbeddedEngine({ path: join(folder, 'bus.db') });
    const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
    await (connection as EmbeddedConnection).publishRaw('order.placed', raw);
    await connection.close();
    await application(async (bus) => {
      bus.subscribe(orderPlaced, { name: 'mailer', handler: () => ack() });
      await bus.start();
      await eventually(
        () => bus.deadLetters.list(),
        (letters) => letters.length === 1,
        'the malformed letter',
      );
    });
    const [letter] = jsonOf<{ id: string }[]>(await onFile('dead-letters', 'list', '--json'));
    const id = letter?.id ?? '';
    expect(await onFile('edit-and-redrive', id)).toMatchObject({ code: 0, out: shown });
    const edit = ['edit-and-redrive', id, '--url', url, '--channels', module, '--data', '-'];
    const replaced = await ended(start(edit), '{"orderId":"A-1","total":5}');
    expect(replaced).toMatchObject({ code: 0, err: '' });
    expect(jsonOf(await onFile('dead-letters', 'list', '--json'))).toEqual([]);
  });

  it('publish checks by the contract of the module, and the application gets the message', async () => {
    await withLetters(1);
    const publish = (data: string, ...more: string[]): Promise<Result> =>
      ended(start(['publish', '--channel', 'order.placed', '--url', url, ...more]), data);
    const wrong = await publish('{"orderId":"B-0"}', '--channels', module);
    expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining("'total'") });
    const dry = await publish('{"orderId":"B-1","total":2}', '--channels', module, '--dry-run');
    expect(dry).toMatchObject({ code: 0, err: expect.stringContaining('Nothing was published.') });
    const sent = await publish(
      '{"orderId":"B-2","total":2}',
      '--channels',
      module,
      '--header',
      'tenant=acme',
    );
    expect(sent).toMatchObject({ code: 0, err: expect.stringContaining('stored: disk') });
    const unchecked = await publish('{"orderId":"B-3","total":3}', '--id', 'mine');
    expect(unchecked).toMatchObject({ code: 0, out: 'mine\n' });
    const got = new Collector<{ id: string; orderId: string; tenant: string | undefined }>();
    await application(async (bus) => {
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
});

const redisUrl = process.env['REDIS_URL'] ?? '';

describe.skipIf(redisUrl === '')('on Redis (needs REDIS_URL)', () => {
  const prefix = `cli-${process.pid}`;
  const here = ['--url', `${redisUrl}?prefix=${prefix}`];
  afterEach(async () => {
    const client = await openClient({ url: redisUrl, name: prefix, connectTimeoutMs: 5_000 });
    await deleteAll(client, prefix);
    client.end();
  });

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
    await eventually(
      () => bus.deadLetters.list(),
      (letters) => letters.length === 1,
      'the dead letter',
    );
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

describe('asyncapi', () => {
  it('writes the document of the module without asking an engine', async () => {
    const written = await cli('asyncapi', '--channels', module, '--service-version', '2.0.0');
    expect(written.code).toBe(0);
    expect(JSON.parse(written.out)).toMatchObject({
      asyncapi: '3.1.0',
      info: { title: 'Shop', version: '2.0.0' },
      channels: { 'order.placed': {}, 'price.asked.reply': { address: null } },
      operations: { 'receive.order.placed.mailer': { action: 'receive' } },
    });
  });
});

describe('wrong input says what, why and what to do', () => {
  it.each<[string, string[], number, RegExp]>([
    ['an unknown command', ['inspekt'], 2, /no command "inspekt"[\s\S]*One of: inspect/],
    ['a mistyped command', ['redrve'], 2, /Did you mean redrive\? One of/],
    ['half a command', ['dead-letters'], 2, /Did you mean dead-letters groups, or dead-letters list/],
    ['no command but an option', ['--quiet'], 2, /no command was given/],
    [
      'a mistyped option',
      ['inspect', '--wach'],
      2,
      /no option --wach[\s\S]*Did you mean --watch\? [\s\S]*--help tells more/,
    ],
    ['a mistyped option of the program', ['--urll', 'x', 'inspect'], 2, /no option --urll[\s\S]*--help/],
    ['an unknown option', ['inspect', '--frobnicate'], 2, /no option --frobnicate\nUsage: /],
    ['a letter', ['inspect', '-w'], 2, /no option -w\nDid you mean --watch\?/],
    ['a mistyped second word', ['dead-letters', 'shwo'], 2, /Did you mean dead-letters show\? One of/],
    ['an option without its value', ['inspect', '--url'], 2, /--url <url>: the value is missing\nUsage/],
    [
      'an option in the place of a value',
      ['redrive', '--limit', '-5'],
      2,
      /--limit <n>: the value is missing, for -5 [\s\S]*--limit=-5/,
    ],
    ['a value for a flag', ['redrive', '--all=yes'], 2, /--all takes no value/],
    [
      'an option twice',
      ['redrive', '--channel', 'a', '--channel', 'b'],
      2,
      /--channel was given more than once/,
    ],
    ['a required option left out', ['peek', '--channel', 'x'], 2, /--subscription is missing[\s\S]*Usage/],
    ['an argument left out', ['dead-letters', 'show'], 2, /0 arguments were given, it takes 1/],
    ['no engine', ['inspect'], 3, /no engine was named[\s\S]*DOORBUSTER_BUS_URL/],
    ['a scheme that no engine has', ['inspect', '--url', 'nats://x'], 2, /names no engine[\s\S]*sqlite:/],
    [
      'a file that is not there',
      ['inspect', '--url', 'sqlite:/nowhere/bus.db'],
      2,
      /no such file[\s\S]*Name the file/,
    ],
    ['a server out of reach', ['inspect', '--url', 'redis://127.0.0.1:1'], 4, /Check the URL/],
    ['a module that is not there', ['asyncapi', '--channels', './nope.ts'], 2, /no such file/],
    [
      'a module without channels',
      ['asyncapi', '--channels', main.replace('main.ts', 'help.ts')],
      2,
      /exports no channel/,
    ],
    ['asyncapi without a title', ['asyncapi'], 2, /no title or no version[\s\S]*export service/],
    ['a time that is none', ['redrive', '--before', 'yesterday'], 2, /--before yesterday: not a time/],
    ['a number that is none', ['redrive', '--all', '--limit', 'many'], 2, /--limit many/],
    [
      'a word behind half a command',
      ['dead-letters', 'foo'],
      2,
      /no command "dead-letters foo"\nDid you mean dead-letters /,
    ],
    ['an empty message id', ['redrive', '--message-id', ''], 2, /--message-id is empty, and every message/],
    [
      'an empty id',
      ['dead-letters', 'list', '--message-id='],
      2,
      /--message-id is empty[\s\S]*Pick those by --group/,
    ],
    [
      'replay from a place that is none',
      ['replay', '--channel', 'c', '--subscription', 's', '--from', 'somewhere', '--confirm', 's'],
      2,
      /--from somewhere: no place[\s\S]*earliest, latest, a time [\s\S]*offset:<offset>/,
    ],
    ['redrive without a filter', ['redrive'], 2, /no filter was given[\s\S]*--all/],
    ['discard of all, unconfirmed', ['discard', '--all'], 2, /--confirm all/],
    ['a header without a value', ['publish', '--channel', 'x', '--header', 'y'], 2, /no data|--header/],
    [
      'replay, unconfirmed',
      ['replay', '--channel', 'c', '--subscription', 's', '--from', 'earliest'],
      2,
      /--confirm s/,
    ],
  ])('%s', async (_name, args, code, text) => {
    const result = await inProcess(...args);
    expect(result).toMatchObject({ code, out: '' });
    expect(result.err).toMatch(text);
    expect(result.err).not.toMatch(/\n {4}at /);
  });

  it('a name that the engine does not know, with the names it does', async () => {
    await withLetters(1);
    const publish = await ended(start(['publish', '--channel', 'nope', '--url', url]), '1');
    expect(publish).toMatchObject({
      code: 2,
      err: expect.stringContaining('It knows: mail.wanted, order.placed'),
    });
    const place = await onFileHere('peek', '--channel', 'order.placed', '--subscription', 'nope');
    expect(place).toMatchObject({ code: 2, err: expect.stringContaining('It has: mailer, report') });
    const redriven = await onFileHere('redrive', '--channel', 'nope');
    expect(redriven).toMatchObject({ code: 2, err: expect.stringContaining('"nope" is not known') });
    const letter = await onFileHere('dead-letters', 'show', 'nope');
    expect(letter).toMatchObject({ code: 2, err: expect.stringContaining('no dead letter "nope"') });
  });

  it.each<[string, readonly string[], RegExp]>([
    [
      'group',
      ['redrive', '--group', 'nope'],
      /no dead letter has the group "nope"\nThere are: "retry: the mail server is busy", "/,
    ],
    [
      'group, to be discarded',
      ['discard', '--group', 'nope', '--channel', 'order.placed', '--confirm', 'order.placed'],
      /no dead letter has the group "nope"\nThere are: /,
    ],
    ['group, only counted', ['redrive', '--group', 'nope', '--dry-run'], /no dead letter has the group/],
    [
      'subscription',
      ['redrive', '--subscription', 'nope'],
      /no channel has a subscription "nope"\nThere are: mailer, report/,
    ],
    [
      'subscription of a channel',
      ['dead-letters', 'list', '--channel', 'order.placed', '--subscription', 'nope'],
      /has no subscription "nope"\nThere are: mailer, report/,
    ],
    [
      'channel, to be listed',
      ['dead-letters', 'list', '--channel', 'nope'],
      /"nope" is not known[\s\S]*It knows: mail\.wanted, order\.placed/,
    ],
    ['key', ['redrive', '--key', 'nope'], /no dead letter has the key "nope"/],
    [
      'message',
      ['redrive', '--message-id', 'nope', '--message-id', 'no'],
      /no dead letter of message "nope", "no"/,
    ],
  ])('a %s that there is none of, with those there are', async (_name, args, text) => {
    await withLetters(3);
    const result = await onFileHere(...args);
    expect(result).toMatchObject({ code: 2, out: '' });
    expect(result.err).toMatch(text);
    const { error, remedy, exitCode } = jsonOf<Record<string, unknown>>(await onFileHere(...args, '--json'));
    expect(`${String(error)}\n${String(remedy)}`).toMatch(text);
    expect(exitCode).toBe(2);
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
  ])('a file %s, which stays as it is', async (_name, make, text) => {
    const path = join(folder, 'other');
    make(path);
    const before = statSync(path);
    const result = await inProcess('inspect', '--url', `sqlite:${path}`);
    expect(result).toMatchObject({ code: 2, out: '', err: expect.stringMatching(text) });
    expect(statSync(path)).toMatchObject({ size: before.size, mtimeMs: before.mtimeMs });
  });

  it('a file that a running application holds', async () => {
    await application(async (bus) => {
      await bus.start();
      const locked = await onFile('inspect');
      expect(locked).toMatchObject({ code: 3, err: expect.stringContaining('belongs to one process') });
    });
  });

  it('but not one that it shares', async () => {
    const bus = createBus({
      engine: createEmbeddedEngine({ path: join(folder, 'bus.db'), share: true }),
      source: '/shop',
    });
    bus.declare([orderPlaced]);
    await bus.start();
    const beside = await cli('inspect', '--url', `${url}?share=true`);
    await bus.stop();
    expect(beside).toMatchObject({ code: 0, out: expect.stringContaining('order.placed') });
  });

  it('as a process too', async () => {
    expect(await cli('inspekt')).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('One of: '),
    });
  });

  it('with --json a failure is one JSON object on stdout', async () => {
    const result = await cli('redrive', '--json');
    expect(result.err).toBe('');
    expect(jsonOf(result)).toMatchObject({ error: 'no filter was given', code: 'CLI', exitCode: 2 });
  });
});

describe('help', () => {
  it('has every command in its overview, and a text of its own for each', async () => {
    const overview = await cli('--help');
    for (const { name, summary } of commands)
      expect(overview.out).toMatch(new RegExp(`${name} +${summary.slice(0, 20)}`));
    expect((await cli('redrive', '--help')).out).toContain('Usage: doorbuster-bus redrive [options]');
    expect((await cli('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(await inProcess('inspect', '--version')).toMatchObject({ code: 0, out: '0.0.0\n' });
    expect((await inProcess('help')).out).toContain('Commands');
    expect(existsSync(join(folder, 'bus.db'))).toBe(false);
  });
});
