/** What may come beside and inside of a message, and what an engine may answer: no message is lost or kept for ever by it. */
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { NEVER_TRIED } from './attempts.ts';
import { type BusOptions, createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { Collector } from './conformance/fixture.ts';
import type { StandardSchema } from './contract.ts';
import type { Settlement } from './engine.ts';
import { MessagingError } from './errors.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import { ack, type Outcome, reply, retry, snooze } from './outcome.ts';
import { createScriptedEngine, deliveryOf, type Script } from './testing/scripted-engine.ts';

const type = 'orders';
const anything = Type.Object({ n: Type.Integer() });
const contract = (validate: (value: unknown) => unknown): StandardSchema =>
  ({ '~standard': { version: 1, vendor: 't', validate } }) as StandardSchema;

type Told = (value: unknown) => void;
/** What can be waited for and is no Promise, as some libraries have it. */
const thenable = (then: (yes: Told, no: Told) => void): unknown => Object.fromEntries([['then', then]]);

/** A bus with one subscription on a scripted engine. */
async function subscribed({
  schema = anything,
  script = {},
  handle = () => ack(),
  told = {},
}: {
  readonly schema?: typeof anything | StandardSchema;
  readonly script?: Script;
  readonly handle?: (data: unknown) => Outcome | Promise<Outcome>;
  readonly told?: Pick<BusOptions, 'log' | 'telemetry'>;
}) {
  const engine = createScriptedEngine(script);
  const clock = createManualClock();
  const handled = new Collector<unknown>();
  const channel = defineChannel({ name: type, version: 1, schema, reply: anything });
  const bus = createBus({ engine, source: '/t', clock, ...told });
  bus.declare([channel]);
  bus.subscribe(channel, {
    name: 'one',
    concurrency: 10,
    leaseMs: 90,
    handler: ({ data }) => {
      handled.add(data);
      return handle(data);
    },
  });
  await bus.start();
  const counts = async () => (await bus.view()).subscriptions[0];
  return { engine, clock, handled, bus, counts };
}

const reasonsOf = (settled: readonly Settlement[]): readonly string[] =>
  settled.map((one) => (one.kind === 'deadLetter' ? one.letter.reason : one.kind));

describe('a contract that cannot be checked', () => {
  it.each<[string, (value: unknown) => unknown]>([
    [
      'throws',
      () => {
        throw new Error('boom');
      },
    ],
    ['rejects', () => Promise.reject(new Error('boom'))],
    ['rejects as a thenable', () => thenable((_, no) => no(new Error('boom')))],
    ['answers nothing', () => undefined],
  ])('because it %s makes a dead letter, and the subscription goes on', async (_, validate) => {
    const failing = (value: unknown): unknown =>
      (value as { n: number }).n === 1 ? validate(value) : { value };
    const { engine, handled, counts, bus } = await subscribed({ schema: contract(failing) });
    engine.hand('one', deliveryOf(1, { type }), deliveryOf(2, { type }));
    await expect.poll(() => engine.settled.length).toBe(2);
    const [bad] = engine.settled.filter(({ kind }) => kind === 'deadLetter');
    expect(bad).toMatchObject({ token: 1, letter: { history: [{ kind: 'invalid' }] } });
    expect(reasonsOf([bad as Settlement])[0]).toMatch(/could not be checked: (Error: boom|TypeError)/);
    expect(handled.values).toEqual([{ n: 2 }]);
    expect(await counts()).toMatchObject({ handling: 0, handled: 1, failed: 1 });
    await bus.stop();
  });
});

const fail = (): never => {
  throw new Error('it cannot be written');
};
const failingTelemetry: NonNullable<BusOptions['telemetry']> = {
  attach: () => ({
    publish: (batch, _temporary, send) => send(batch),
    process: async (_handOut, handle) => handle(),
    settle: (_settling, settle) => settle(),
    failed: fail,
    started: () => {},
    stopped: fail,
  }),
};

describe('a part of the application that is told of a failure and fails itself', () => {
  it.each<[string, Pick<BusOptions, 'log' | 'telemetry'>]>([
    ['a log', { log: { debug: fail, info: fail, warn: fail, error: fail } }],
    ['telemetry', { telemetry: failingTelemetry }],
  ])('takes no place of a subscription and keeps no message: %s', async (_, told) => {
    const { engine, handled, counts, bus } = await subscribed({
      told,
      handle: (data) => ((data as { n: number }).n === 1 ? fail() : ack()),
    });
    engine.hand('one', deliveryOf(1, { type }), deliveryOf(2, { type }));
    engine.hand('one', { ...deliveryOf(3, { type }), malformed: 'it cannot be read', message: undefined });
    engine.hand('one', deliveryOf(4, { type }));
    await expect.poll(() => engine.settled.length).toBe(4);
    expect(reasonsOf(engine.settled).toSorted()).toEqual(['ack', 'ack', 'it cannot be read', 'retry']);
    expect(new Set(handled.values.map((data) => (data as { n: number }).n))).toEqual(new Set([1, 2, 4]));
    // One of the three is the first message's second attempt.
    expect(await counts()).toMatchObject({ handling: 0, handled: 2, failed: 3 });
    await bus.stop();
    expect(engine.ended).toContain('close');
  });
});

describe('a Standard Schema', () => {
  it.each<[string, (result: unknown) => unknown]>([
    ['at once', (result) => result],
    ['later', (result) => Promise.resolve(result)],
    ['as a thenable', (result) => thenable((yes) => yes(result))],
  ])('gives the handler what it makes of the data, %s', async (_, answer) => {
    const schema = contract((value) => {
      const { n } = value as { n: string };
      return answer(/^\d+$/.test(n) ? { value: { n: Number(n) } } : { issues: [{ message: 'no number' }] });
    });
    const { engine, handled, bus } = await subscribed({ schema });
    engine.hand('one', deliveryOf(1, { type, data: { n: '5' } }), deliveryOf(2, { type, data: { n: 'x' } }));
    await expect.poll(() => engine.settled.length).toBe(2);
    expect(handled.values).toEqual([{ n: 5 }]);
    expect(new Set(reasonsOf(engine.settled))).toEqual(
      new Set(['ack', 'does not fit its contract: data: no number']),
    );
    await bus.stop();
  });
});

describe('a state beside a message', () => {
  const sound = JSON.stringify(NEVER_TRIED);
  it.each([
    'not json',
    '',
    'null',
    '7',
    '[]',
    '{}',
    '{"attempts":1}',
    sound.replace('[]', '[null]'),
    sound.replace('0', '-1'),
  ])('that is none (%s) makes a dead letter that says so; the next is handled', async (state) => {
    const { engine, handled, bus } = await subscribed({});
    engine.hand('one', deliveryOf(1, { type }, { state }), deliveryOf(2, { type }, { state: sound }));
    await expect.poll(() => engine.settled.length).toBe(2);
    expect(handled.values).toEqual([{ n: 2 }]);
    const [letter, other] = engine.settled;
    expect(other).toEqual({ kind: 'ack', token: 2 });
    expect(letter).toMatchObject({ kind: 'deadLetter', letter: { history: [{ kind: 'malformed' }] } });
    expect(reasonsOf([letter as Settlement])[0]).toContain('none of this toolkit');
    await bus.stop();
  });

  it('that is none is no reason to put the message off, also where it may have killed its process', async () => {
    const { engine, bus } = await subscribed({});
    engine.hand(
      'one',
      deliveryOf(1, { type }, { state: 'x', abandoned: 3 }),
      deliveryOf(2, { type }, { state: 'x', abandoned: 3 }),
    );
    await expect.poll(() => engine.settled.map(({ kind }) => kind)).toEqual(['deadLetter', 'deadLetter']);
    await bus.stop();
  });

  it('an engine may count as high as it likes', async () => {
    const { engine, bus } = await subscribed({});
    engine.hand('one', deliveryOf(1, { type }, { abandoned: 2 ** 50 }));
    await expect.poll(() => engine.settled.length).toBe(1);
    expect(engine.settled[0]).toMatchObject({ kind: 'deadLetter', letter: { history: { length: 20 } } });
    await bus.stop();
  });
});

describe('a settlement that is refused for good', () => {
  const refused = new MessagingError('DB_MSG_INVALID_OPTIONS', 'a delay of 3 days is longer than 46 h');
  const refusing =
    (kinds: readonly string[]) =>
    async (settlements: readonly Settlement[]): Promise<readonly ('settled' | 'lost')[]> => {
      if (settlements.some(({ kind }) => kinds.includes(kind))) throw refused;
      return settlements.map(() => 'settled');
    };

  it('makes a wait a dead letter that says why, and the others of its batch are settled', async () => {
    const { engine, clock, counts, bus } = await subscribed({
      script: { settle: refusing(['retry']) },
      handle: (data) => ((data as { n: number }).n === 2 ? snooze(3 * 86_400_000) : ack()),
    });
    engine.hand('one', ...[1, 2, 3].map((n) => deliveryOf(n, { type })));
    await expect
      .poll(() => engine.settled.filter(({ kind }) => kind === 'deadLetter'))
      .toMatchObject([{ token: 2, letter: { reason: expect.stringContaining('longer than 46 h') } }]);
    expect(await counts()).toMatchObject({ handling: 0, failed: 1, lost: 0 });
    clock.advance(1_000);
    expect(engine.extended).toEqual([]);
    await bus.stop();
  });

  it('counts a failure once, whether or not an attempt had failed', async () => {
    const { engine, counts, bus } = await subscribed({
      script: { settle: refusing(['retry']) },
      handle: (data) => ((data as { n: number }).n === 1 ? retry({ delayMs: 3 * 86_400_000 }) : snooze(1)),
    });
    engine.hand('one', deliveryOf(1, { type }), deliveryOf(2, { type }));
    await expect.poll(() => engine.settled.filter(({ kind }) => kind === 'deadLetter')).toHaveLength(2);
    expect(await counts()).toMatchObject({ handled: 0, failed: 2, lost: 0 });
    await bus.stop();
  });

  it('of one that was put off keeps what is known of it', async () => {
    const { engine, counts, bus } = await subscribed({ script: { settle: refusing(['retry']) } });
    const abandoned = (token: number) => deliveryOf(token, { type }, { abandoned: 2 });
    engine.hand('one', abandoned(1), abandoned(2));
    await expect
      .poll(() => engine.settled.filter(({ kind }) => kind === 'deadLetter'))
      .toMatchObject([
        {
          token: 2,
          letter: { history: [{ kind: 'abandoned' }, { kind: 'abandoned' }, { kind: 'deadLetter' }] },
        },
      ]);
    await expect.poll(counts).toMatchObject({ handled: 1, failed: 1, lost: 0 });
    await bus.stop();
  });

  it('of another kind is given up: its lease is not extended and it counts as lost', async () => {
    const { engine, clock, counts, bus } = await subscribed({ script: { settle: refusing(['ack']) } });
    engine.hand('one', deliveryOf(1, { type }));
    await expect.poll(async () => (await counts())?.lost).toBe(1);
    clock.advance(1_000);
    expect(engine.extended).toEqual([]);
    expect(engine.settled).toHaveLength(1);
    await bus.stop();
  });

  it('on an engine that has ended makes no dead letters', async () => {
    const { engine, counts, bus } = await subscribed({
      script: { settle: () => Promise.reject(new MessagingError('DB_MSG_ENGINE_FAILED', 'dead')) },
      handle: () => snooze(10),
    });
    engine.hand('one', deliveryOf(1, { type }), deliveryOf(2, { type }));
    await expect.poll(async () => (await counts())?.lost).toBe(2);
    expect(engine.settled.map(({ kind }) => kind)).toEqual(['retry', 'retry']);
    await bus.stop();
  });

  it('is tried again where that may help (the control)', async () => {
    let tries = 0;
    const { engine, clock, counts, bus } = await subscribed({
      script: {
        async settle(settlements) {
          tries += 1;
          if (tries < 3) throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'away');
          return settlements.map(() => 'settled');
        },
      },
    });
    engine.hand('one', deliveryOf(1, { type }));
    await expect
      .poll(() => {
        clock.advance(500);
        return tries;
      })
      .toBe(3);
    expect(engine.extended).toContain(1);
    expect(await counts()).toMatchObject({ handled: 1, lost: 0 });
    await bus.stop();
  });
});

describe('a message that may kill its process', () => {
  /** Settlements are answered by the test, one call after the other. */
  function answering() {
    const calls: { readonly tokens: readonly unknown[]; readonly answer: () => void }[] = [];
    const settle = (settlements: readonly Settlement[]): Promise<readonly 'settled'[]> =>
      new Promise((resolve) => {
        const tokens = settlements.map(({ token }) => token);
        calls.push({ tokens, answer: () => resolve(settlements.map(() => 'settled')) });
      });
    return { settle, calls };
  }
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const plain = (token: number) => deliveryOf(token, { type });
  const suspect = (token: number) => deliveryOf(token, { type }, { abandoned: 2 });
  const answerAll = (calls: readonly { readonly answer: () => void }[]): void => {
    for (const { answer } of calls) answer();
  };

  it('has its turn on a busy subscription: it waits for what was under way when it came, not for silence', async () => {
    const { settle, calls } = answering();
    const { engine, handled, bus } = await subscribed({ script: { settle } });
    engine.hand('one', plain(1));
    await turn();
    engine.hand('one', suspect(2));
    await turn();
    engine.hand('one', plain(3));
    await turn();
    expect(calls.map(({ tokens }) => tokens)).toEqual([[1], [3]]);
    expect(handled.values).toEqual([{ n: 1 }, { n: 3 }]);
    calls[0]?.answer();
    await turn();
    expect(handled.values).toEqual([{ n: 1 }, { n: 3 }, { n: 2 }]);
    answerAll(calls);
    await bus.stop();
  });

  it('is not handled before the others that came with it are put off for good', async () => {
    const { settle, calls } = answering();
    const { engine, handled, bus } = await subscribed({ script: { settle } });
    engine.hand('one', suspect(1), suspect(2), suspect(3));
    await turn();
    expect(calls.map(({ tokens }) => tokens)).toEqual([[2, 3]]);
    expect(handled.values).toEqual([]);
    calls[0]?.answer();
    await turn();
    expect(handled.values).toEqual([{ n: 1 }]);
    answerAll(calls);
    await bus.stop();
  });

  it('nor where they came before the engine had answered the subscribe', async () => {
    const { settle, calls } = answering();
    const { handled, bus } = await subscribed({
      script: { settle, subscribe: async (_, receive) => receive([suspect(1), suspect(2)]) },
    });
    await turn();
    expect(calls.map(({ tokens }) => tokens)).toEqual([[2]]);
    expect(handled.values).toEqual([]);
    calls[0]?.answer();
    await turn();
    expect(handled.values).toEqual([{ n: 1 }]);
    answerAll(calls);
    await bus.stop();
  });
});

describe('a reply', () => {
  it.each([
    ['replies.0190a1b2-0000-7000-8000-000000000001', true],
    ['orders', false],
    ['payments.due', false],
    ['replies.', false],
    ['replies/../orders', false],
  ])('to %s: %s', async (replyto, isSent) => {
    const { engine, bus } = await subscribed({ handle: () => reply({ n: 7 }) });
    engine.hand('one', deliveryOf(1, { type, headers: { replyto } }));
    await expect.poll(() => engine.settled).toEqual([{ kind: 'ack', token: 1 }]);
    expect(engine.published.map(({ channel, message }) => [channel, message.data])).toEqual(
      isSent ? [[replyto, { n: 7 }]] : [],
    );
    await bus.stop();
  });

  it.each(['orders', 'com.example.order'])(
    'fits the contract of the channel that was subscribed to, also where a request is named %s',
    async (named) => {
      const { engine, bus } = await subscribed({ handle: () => reply({ n: 'seven' }) });
      const replyto = 'replies.0190a1b2-0000-7000-8000-000000000001';
      engine.hand('one', deliveryOf(1, { type: named, headers: { replyto } }));
      await expect.poll(() => engine.settled.length).toBe(1);
      expect(engine.published).toEqual([]);
      const [settled] = engine.settled;
      expect(settled?.kind === 'retry' && settled.state).toContain(String.raw`reply on \"orders\"`);
      await bus.stop();
    },
  );

  it('no channel of an application may be called like one', () => {
    expect(() => defineChannel({ name: 'replies.mine', version: 1, schema: anything })).toThrow(
      'reply channels',
    );
    expect(defineChannel({ name: 'replies', version: 1, schema: anything }).name).toBe('replies');
  });
});
