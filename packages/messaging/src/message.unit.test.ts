import fc from 'fast-check';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { groupOf, nextAttempt, readAttempts, recordFailure } from './attempts.ts';
import { type ChannelDefinition, defineChannel, type PublishArguments } from './channel.ts';
import { decodeCloudEvent, encodeCloudEvent } from './cloud-event.ts';
import type { Delivery } from './engine.ts';
import { decodeRanges, encodeRanges } from './engines/embedded/positions.ts';
import { createIds } from './ids.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import type { Message } from './message.ts';

const schema = Type.Object({ n: Type.Integer() });

describe('CloudEvents', () => {
  const text = fc.string();
  const message = fc.record(
    {
      id: fc.uuid(),
      type: fc.string({ minLength: 1 }),
      version: fc.integer({ min: 1, max: 999 }),
      source: fc.string({ minLength: 1 }),
      time: text,
      data: fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown),
      key: text,
      correlationId: text,
      causationId: text,
      expiresAt: text,
      traceparent: text,
      headers: fc.dictionary(fc.stringMatching(/^h[a-z0-9]{0,10}$/), text),
    },
    { requiredKeys: ['id', 'type', 'version', 'source', 'time', 'data', 'headers'] },
  );

  it('decodes what it encoded, whatever was in it', () => {
    fc.assert(
      fc.property(message, (one) => {
        expect(decodeCloudEvent(encodeCloudEvent(one as Message))).toEqual({
          ...one,
          headers: { ...one.headers },
        });
      }),
    );
  });

  it('reads the event of a foreign publisher', () => {
    const foreign = {
      specversion: '1.0',
      id: 'A234',
      type: 'com.example',
      source: '/mycontext',
      subject: 's',
      comexampleext: 5,
      data: { n: 1 },
    };
    expect(decodeCloudEvent(JSON.stringify(foreign))).toMatchObject({
      id: 'A234',
      version: 1,
      headers: { comexampleext: '5' },
      data: { n: 1 },
    });
  });

  it.each([
    '',
    'null',
    '[]',
    '{"specversion":"0.3"}',
    '{"specversion":"1.0"}',
    '{"specversion":"1.0","id":"1","type":3,"source":"/"}',
  ])('refuses %s', (broken) => {
    expect(() => decodeCloudEvent(broken)).toThrow(expect.objectContaining({ code: 'DB_MSG_MALFORMED' }));
  });
});

describe('ids', () => {
  it('are UUIDv7 of the clock, and do not repeat', () => {
    const clock = createManualClock(1_700_000_000_000);
    const ids = createIds(clock);
    const made = Array.from({ length: 5_000 }, () => ids.next());
    expect(new Set(made).size).toBe(5_000);
    for (const id of made)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(Number.parseInt((made[0] ?? '').replaceAll('-', '').slice(0, 12), 16)).toBe(1_700_000_000_000);
  });
});

describe('defineChannel', () => {
  const base: ChannelDefinition = { name: 'a.b', version: 1, schema };
  it.each<[string, Partial<ChannelDefinition>]>([
    ['order with priority', { order: 'key', requires: { priority: { levels: 3 } } }],
    ['order with delay', { order: 'key', requires: { delay: { maxMs: 5 } } }],
    ['a failure order without order', { onFailure: 'sequencedDlq' }],
  ])('refuses the contradiction: %s', (_, part) => {
    expect(() => defineChannel({ ...base, ...part })).toThrow(
      expect.objectContaining({ code: 'DB_MSG_CHANNEL_CONTRADICTION' }),
    );
  });

  it.each<[string, Partial<ChannelDefinition>]>([
    ['name', { name: 'A b' }],
    ['version', { version: 0 }],
    ['levels', { requires: { priority: { levels: 11 } } }],
    ['delay', { requires: { delay: { maxMs: 0 } } }],
    ['size', { requires: { size: { maxBytes: 1.5 } } }],
  ])('refuses a bad %s', (_, part) => {
    expect(() => defineChannel({ ...base, ...part })).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS' }),
    );
  });

  it('keeps options that the channel did not ask for from compiling', () => {
    const keyed = defineChannel({ name: 'k', version: 1, schema, order: 'key', requires: { ttl: true } });
    const delayed = defineChannel({
      name: 'd',
      version: 1,
      schema,
      requires: { delay: { maxMs: 5 }, priority: { levels: 2 } },
    });
    const good: PublishArguments<typeof keyed> = [{ key: 'a', expiresAt: 1 }];
    const alsoGood: PublishArguments<typeof delayed> = [{ delayMs: 1, priority: 1 }];
    // @ts-expect-error order per key needs a key
    const noKey: PublishArguments<typeof keyed> = [];
    // @ts-expect-error the channel did not ask for delay
    const noDelay: PublishArguments<typeof keyed> = [{ key: 'a', delayMs: 1 }];
    expect([good, alsoGood, noKey, noDelay]).toHaveLength(4);
  });

  it('takes any Standard Schema', async () => {
    const standard = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value: unknown) =>
          value === 1 ? { value: 1 as const } : { issues: [{ message: 'not one', path: ['x'] }] },
      },
    } as const;
    const channel = defineChannel({ name: 's', version: 1, schema: standard });
    expect(await channel.check(1)).toBeUndefined();
    expect(await channel.check(2)).toBe('x: not one');
  });
});

describe('attempts', () => {
  const policy = { immediate: 1, delayed: [10, 20], abandoned: 3, jitter: 0.5 };
  const after = (attempts: number, abandoned = 0) => ({ attempts, abandoned, redrives: 0, history: [] });
  const delivery = (state: string | undefined, abandoned: number): Delivery => ({
    token: 1,
    message: undefined,
    raw: '',
    state,
    abandoned,
  });

  it('go at once first, then by the delays, then never', () => {
    expect([1, 2, 3, 4].map((attempts) => nextAttempt(policy, after(attempts), undefined, () => 0))).toEqual([
      'now',
      { afterMs: 10 },
      { afterMs: 20 },
      'never',
    ]);
    expect(nextAttempt(policy, after(1), 77, () => 0)).toEqual({ afterMs: 77 });
    expect(nextAttempt(policy, after(4), 77, () => 0)).toBe('never');
  });

  it('come later by a drawn share of the wait, never earlier', () => {
    const wait = (draw: number) => nextAttempt(policy, after(3), undefined, () => draw);
    expect([0, 0.5, 0.999].map(wait)).toEqual([{ afterMs: 20 }, { afterMs: 25 }, { afterMs: 30 }]);
  });

  it('count abandoned hand-outs against a limit of their own', () => {
    expect(nextAttempt(policy, after(3, 2), undefined, () => 0)).toBe('now');
    expect(nextAttempt(policy, after(3, 3), undefined, () => 0)).toBe('never');
  });

  it('count abandoned hand-outs once', () => {
    const first = readAttempts(delivery(undefined, 2), 0).state;
    expect(first.attempts).toBe(2);
    const again = JSON.stringify(recordFailure(first, 'threw', 'x', 0));
    const second = readAttempts(delivery(again, 3), 0).state;
    expect(second.history.map(({ kind }) => kind)).toEqual(['abandoned', 'abandoned', 'threw', 'abandoned']);
  });

  it('keep the first and the latest failures when there are many', () => {
    let state = readAttempts(delivery(undefined, 0), 0).state;
    for (let n = 1; n <= 50; n += 1) state = recordFailure(state, 'threw', `reason ${n}`, 0);
    expect(state.attempts).toBe(50);
    expect(state.history.map(({ attempt }) => attempt)).toEqual([
      1,
      2,
      3,
      4,
      5,
      ...Array.from({ length: 15 }, (_, index) => 36 + index),
    ]);
  });

  it('group failures of one cause', () => {
    expect(
      groupOf('threw', 'Error: order 17 of "Kim" at 0199c2a4-0000-7000-8000-000000000000\nat line 3'),
    ).toBe(groupOf('threw', 'Error: order 4 of "Lee" at 0199c2a4-1111-7000-8000-000000000000'));
  });
});

describe('ranges of positions', () => {
  it('decode to what was encoded', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 60 })), (positions) => {
        const back = decodeRanges(encodeRanges(new Set(positions))).flatMap(([from, to]) =>
          Array.from({ length: to - from + 1 }, (_, index) => from + index),
        );
        expect(back).toEqual([...positions].sort((a, b) => a - b));
      }),
    );
  });
});
