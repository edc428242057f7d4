/** What a process cannot show easily, in this one: Ctrl-C in the middle of a redrive, a terminal, and what an engine answers to peek, replay and edit. */
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import type { DeadLetterStore, Engine, EngineConnection } from '../engine.ts';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import { MessagingError } from '../errors.ts';
import { giveUpOn, inProcess, module, type Said, type Surroundings } from './testing/fixture.ts';

/** One database, opened again and again as a file would be. */
class Store {
  #bytes: Uint8Array | undefined;
  readonly calls: unknown[][] = [];

  engine(change: (connection: EngineConnection) => Partial<EngineConnection> = () => ({})): Engine {
    return {
      name: 'embedded',
      connect: async (context) => {
        const database = new DatabaseSync(':memory:');
        if (this.#bytes) database.deserialize(this.#bytes);
        const real = await createInProcessEngine(database).connect(context);
        const passed: EngineConnection = {
          capabilities: real.capabilities,
          deadLetters: real.deadLetters,
          declare: (topology) => real.declare(topology),
          publish: (batch) => real.publish(batch),
          subscribe: (spec, receive) => real.subscribe(spec, receive),
          inspect: () => real.inspect(),
          peek: (subscription, limit) => real.peek(subscription, limit),
          rewind: (subscription, from, options) => real.rewind(subscription, from, options),
          close: async () => {
            this.#bytes = database.serialize();
            await real.close();
          },
        };
        return { ...passed, ...change(passed) };
      },
    };
  }

  async withLetters(count: number): Promise<void> {
    await giveUpOn(this.engine(), count);
  }
}

const say = (engine: Engine, args: readonly string[], around: Surroundings = {}): Promise<Said> =>
  inProcess(args, {
    ...around,
    env: { DOORBUSTER_BUS_URL: 'sqlite:./bus.db', ...around.env },
    openEngine: async () => engine,
  });

/** The store's own methods, with `redrive` on the caller's terms. */
function redriving(store: DeadLetterStore, redrive: DeadLetterStore['redrive']): DeadLetterStore {
  return {
    list: (filter, page) => store.list(filter, page),
    redriveEdited: (id, message, state) => store.redriveEdited(id, message, state),
    discard: (filter, limit) => store.discard(filter, limit),
    redrive,
  };
}

describe('redrive', () => {
  it('stopped by Ctrl-C says so and ends as partly done; the same command goes on', async () => {
    const store = new Store();
    await store.withLetters(450);
    const stopping = new AbortController();
    const interrupted = store.engine((real) => ({
      deadLetters: redriving(real.deadLetters, async (filter, limit) => {
        stopping.abort();
        return real.deadLetters.redrive(filter, limit);
      }),
    }));
    const first = await say(interrupted, ['redrive', '--all'], { signal: stopping.signal });
    expect(first).toMatchObject({ code: 5, out: '200 redriven, 250 left\n' });
    expect(first.err).toContain('The same command goes on from here.');
    const second = await say(store.engine(), ['redrive', '--all']);
    expect(second).toMatchObject({ code: 0, out: '250 redriven, 0 left\n' });
  });

  it('draws progress on a terminal only, and colour only where it is wanted', async () => {
    const store = new Store();
    await store.withLetters(3);
    const shown = await say(store.engine(), ['redrive', '--all'], { isTTY: true });
    expect(shown.err).toContain('3 redriven, 0 to go');
    const plain = await say(store.engine(), ['inspect'], { isTTY: true, env: { NO_COLOR: '1' } });
    expect(plain.out).not.toContain('\u001b');
    expect((await say(store.engine(), ['inspect'], { isTTY: true })).out).toContain('\u001b[1m');
  });
});

it('edit-and-redrive replaces the letter by data that fits its contract', async () => {
  const store = new Store();
  await store.withLetters(1);
  const [letter] = JSON.parse((await say(store.engine(), ['dead-letters', 'list', '--json'])).out) as {
    id: string;
  }[];
  const engine = store.engine((real) => ({
    deadLetters: {
      ...redriving(real.deadLetters, (filter, limit) => real.deadLetters.redrive(filter, limit)),
      redriveEdited: async (...given) => {
        store.calls.push(given);
        return true;
      },
    },
  }));
  const args = ['edit-and-redrive', letter?.id ?? '', '--channels', module, '--data', '-', '--json'];
  const done = await say(engine, args, { stdin: '{"orderId":"A-0","total":5}' });
  expect(done.code).toBe(0);
  expect(store.calls[0]?.[0]).toBe(letter?.id);
  expect(store.calls[0]?.[1]).toMatchObject({
    id: (JSON.parse(done.out) as { messageId: string }).messageId,
    data: { orderId: 'A-0', total: 5 },
    headers: { redriveof: letter?.id },
  });
  const gone = await say(
    store.engine((real) => ({
      deadLetters: {
        ...redriving(real.deadLetters, async () => ({ moved: 0, remaining: 0 })),
        redriveEdited: async () => false,
      },
    })),
    args.filter((one) => one !== '--json'),
    { stdin: '{"orderId":"A-0","total":5}' },
  );
  expect(gone).toMatchObject({ code: 1, err: expect.stringContaining('It is gone') });
});

describe('peek and replay', () => {
  const place = ['--channel', 'order.placed', '--subscription', 'mailer'];

  it('show and move what the engine has', async () => {
    const store = new Store();
    await store.withLetters(1);
    const engine = store.engine(() => ({
      peek: async () => [
        {
          offset: '7',
          raw: '{}',
          message: {
            id: 'm-1',
            type: 'order.placed',
            version: 1,
            source: '/s',
            time: 't',
            data: { a: '\u001b[31m' },
            headers: {},
          },
        },
        { offset: undefined, raw: 'junk', message: undefined },
      ],
      rewind: async (...given) => void store.calls.push(given),
    }));
    const peeked = await say(engine, ['peek', ...place, '--limit', '2']);
    expect(peeked.out).toMatch(/7 +m-1/);
    expect(peeked.out).toContain('(not a CloudEvent) junk');
    const at = '2020-11-28T00:00:00Z';
    const replayed = await say(engine, ['replay', ...place, '--from', at, '--confirm', 'mailer']);
    expect(replayed).toMatchObject({ code: 0, out: `order.placed / mailer goes on from ${at}\n` });
    const dry = await say(engine, ['replay', ...place, '--from', 'offset:7', '--dry-run']);
    expect(dry.out).toBe('order.placed / mailer would go on from offset:7; nothing was moved\n');
    expect(dry.err).toBe('0 waiting there now: what lies before that point would be skipped.\n');
    const mailer = { channel: 'order.placed', name: 'mailer' };
    expect(store.calls).toEqual([
      [mailer, { timeMs: Date.parse(at) }],
      [mailer, { offset: '7' }, { dryRun: true }],
    ]);
  });

  it('say what to do when the engine cannot, or consumers are in the way', async () => {
    const store = new Store();
    await store.withLetters(1);
    const refuse = (
      code: 'DB_MSG_SUBSCRIPTION_BUSY' | 'DB_MSG_UNSUPPORTED_CAPABILITY',
      replay: 'native' | 'none' = 'native',
    ) =>
      store.engine(({ capabilities }) => ({
        capabilities: { ...capabilities, replay },
        rewind: () => Promise.reject(new MessagingError(code, 'no')),
      }));
    for (const last of [['--confirm', 'mailer'], ['--dry-run']]) {
      const args = ['replay', ...place, '--from', 'earliest', ...last];
      expect(await say(refuse('DB_MSG_SUBSCRIPTION_BUSY'), args)).toMatchObject({
        code: 1,
        err: expect.stringContaining('Stop every consumer'),
      });
      expect(await say(refuse('DB_MSG_UNSUPPORTED_CAPABILITY'), args)).toMatchObject({
        code: 1,
        err: expect.stringContaining('requires: { replay: { keepMs } }'),
      });
      expect(await say(refuse('DB_MSG_UNSUPPORTED_CAPABILITY', 'none'), args)).toMatchObject({
        code: 1,
        err: expect.stringContaining('what the engine can do'),
      });
    }
  });
});

it.each([
  ['peek', '--channel', 'order.placed', '--subscription', 'mailer'],
  [
    'replay',
    '--channel',
    'order.placed',
    '--subscription',
    'mailer',
    '--from',
    'latest',
    '--confirm',
    'mailer',
  ],
  ['dead-letters', 'list', '--channel', 'order.placed'],
  ['redrive', '--group', 'x', '--dry-run'],
])(
  '%s says of an engine that stores nothing that it does not, whatever --channels names',
  async (...args) => {
    const engine = new Store().engine(({ capabilities }) => ({
      capabilities: { ...capabilities, confirm: 'none' },
    }));
    expect(await say(engine, [...args, '--channels', module])).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^doorbuster-bus: nothing is stored on embedded[\s\S]*keeps none/),
    });
  },
);

it('a bug is told as one, with where it was thrown', async () => {
  const broken = new Store().engine(() => ({ inspect: () => Promise.reject(new TypeError('a bug')) }));
  const told = await say(broken, ['inspect']);
  expect(told).toMatchObject({ code: 1, out: '' });
  expect(told.err).toMatch(
    /^doorbuster-bus: unexpected: TypeError: a bug\nThis is a bug, [^\n]*\n {4}at [^\n]*run\.int\.test\.ts\b/,
  );
  const said = await say(broken, ['inspect', '--json']);
  expect(JSON.parse(said.out)).toMatchObject({
    error: 'unexpected: TypeError: a bug',
    code: 'UNEXPECTED',
    exitCode: 1,
  });
  expect(said.err).toMatch(/^ {4}at /);
});
