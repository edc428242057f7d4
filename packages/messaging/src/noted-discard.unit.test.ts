/** A discard with a log of decisions: what it costs a store, what is noted, and what somebody else does meanwhile. By counting looks, because each may be one at every letter there is. */
import { describe, expect, it } from 'vitest';
import { systemClock } from './clock.ts';
import type { Decision, DecisionLog } from './dead-letter-decisions.ts';
import { DeadLetterDesk, type DeadLetterMoveOptions } from './dead-letter-desk.ts';
import { isMeant } from './dead-letter-filter.ts';
import type { DeadLetterFilter, DeadLetterRecord, DeadLetterStore } from './engine.ts';
import { createIds } from './ids.ts';

const letter = (n: number, some: Partial<DeadLetterRecord> = {}): DeadLetterRecord => ({
  id: `letter-${n}`,
  channel: 'orders',
  subscription: 'mail',
  messageId: `m${n}`,
  key: undefined,
  reason: 'refused',
  group: 'refused',
  parkedAt: n,
  history: [],
  raw: '{}',
  ...some,
});
const letters = (count: number, some: Partial<DeadLetterRecord> = {}): DeadLetterRecord[] =>
  Array.from({ length: count }, (_, n) => letter(n, some));
const idsOf = (some: readonly { readonly messageId: string }[]): string[] =>
  some.map(({ messageId }) => messageId);

/** A store of these letters, a log, and a desk for both. `before` happens at each look, before it: whatever somebody else does. */
function stage(parked: readonly DeadLetterRecord[], { isLogged = true } = {}) {
  let there = [...parked];
  const looks: ('list' | 'count' | 'discard')[] = [];
  const lots: number[] = [];
  const noted: Decision[] = [];
  const notedIds = new Set<string>();
  const discarded: DeadLetterRecord[] = [];
  const others = { before: (_look: (typeof looks)[number]): void => {} };
  const look = (kind: (typeof looks)[number]): void => {
    others.before(kind);
    looks.push(kind);
  };
  const store: DeadLetterStore = {
    async list(filter, { limit }) {
      look('list');
      lots.push(limit);
      return there.filter((one) => isMeant(one, filter)).slice(0, limit);
    },
    async discard(filter, limit) {
      look(limit === 0 ? 'count' : 'discard');
      const meant = there.filter((one) => isMeant(one, filter));
      const taken = new Set(meant.slice(0, limit));
      for (const one of taken)
        if (isLogged && one.messageId !== '' && !notedIds.has(one.messageId))
          throw new Error(`${one.id} is discarded and was not noted`);
      discarded.push(...taken);
      there = there.filter((one) => !taken.has(one));
      return { moved: taken.size, remaining: meant.length - taken.size };
    },
    redrive: async () => ({ moved: 0, remaining: 0 }),
    redriveEdited: async () => false,
  };
  const log: DecisionLog = {
    async note(decisions) {
      noted.push(...decisions);
      for (const { messageId } of decisions) notedIds.add(messageId);
    },
    about: async () => [],
    since: async () => 0,
  };
  const desk = new DeadLetterDesk({
    store: () => store,
    view: async () => [],
    channel: () => undefined,
    message: { clock: systemClock, ids: createIds(systemClock), source: '/test' },
    now: () => 1_000_000,
    decisions: async () => (isLogged ? log : undefined),
  });
  const progress: (readonly [moved: number, remaining: number])[] = [];
  return {
    looks,
    lots,
    noted,
    discarded,
    others,
    progress,
    store,
    log,
    there: () => there,
    /** Somebody else takes letters: the oldest that are there. */
    take(count: number) {
      there = there.slice(count);
    },
    discard: (filter: DeadLetterFilter = {}, options: DeadLetterMoveOptions = {}) =>
      desk.discard(filter, {
        onProgress: ({ moved, remaining }) => progress.push([moved, remaining]),
        ...options,
      }),
  };
}

describe('a discard that is noted', () => {
  it('notes each letter once and before it is discarded, and tells what remains', async () => {
    const { discard, noted, discarded, progress, there } = stage(letters(900));
    expect(await discard()).toEqual({ moved: 900, remaining: 0 });
    expect(idsOf(noted)).toEqual(idsOf(letters(900)));
    expect(new Set(noted.map(({ kind, at }) => `${kind} ${at}`))).toEqual(new Set(['discarded 1000000']));
    expect(discarded).toHaveLength(900);
    expect(there()).toEqual([]);
    expect(progress).toEqual([
      [200, 700],
      [400, 500],
      [600, 300],
      [800, 100],
      [900, 0],
    ]);
  });

  it('control: by a log that keeps nothing the store sees a letter that was not noted', async () => {
    const { discard, log } = stage(letters(1));
    log.note = async () => {};
    await expect(discard()).rejects.toThrow('letter-0 is discarded and was not noted');
  });

  it('looks little more often at all letters than one without a log', async () => {
    const plain = stage(letters(9_000), { isLogged: false });
    const noted = stage(letters(9_000));
    for (const { discard } of [plain, noted]) expect(await discard()).toEqual({ moved: 9_000, remaining: 0 });
    expect(plain.looks).toHaveLength(45);
    expect(noted.looks.length).toBeLessThan(60);
    expect(noted.lots.slice(0, 6)).toEqual([200, 400, 800, 1_600, 2_000, 2_000]);
  });

  it('asks for no more letters at once while they are large', async () => {
    const { discard, lots } = stage(letters(900, { raw: 'x'.repeat(50_000) }));
    await discard();
    expect(new Set(lots)).toEqual(new Set([200]));
  });

  it.each([
    [50, { moved: 50, remaining: 450 }, [50]],
    [300, { moved: 300, remaining: 200 }, [200, 300]],
    [0, { moved: 0, remaining: 500 }, [0]],
  ])('takes the %d oldest of all places when it is asked to', async (limit, result, steps) => {
    const two = letters(500).map((one, n) => ({ ...one, subscription: n % 2 === 0 ? 'mail' : 'stock' }));
    const { discard, discarded, progress } = stage(two);
    expect(await discard({}, { limit })).toEqual(result);
    expect(progress.map(([moved]) => moved)).toEqual(steps);
    expect(idsOf(discarded).toSorted()).toEqual(idsOf(two.slice(0, limit)).toSorted());
  });

  it('takes a message that is a letter in two subscriptions from the one that is meant', async () => {
    const both = [...letters(3), ...letters(3, { subscription: 'stock' })];
    const { discard, noted, there } = stage(both);
    expect(await discard({ subscription: 'stock' })).toEqual({ moved: 3, remaining: 0 });
    expect(noted.map(({ subscription }) => subscription)).toEqual(['stock', 'stock', 'stock']);
    expect(there()).toEqual(letters(3));
  });

  it('takes letters without a message id, of which nothing can be noted', async () => {
    const { discard, noted } = stage(letters(3, { messageId: '' }));
    expect(await discard()).toEqual({ moved: 3, remaining: 0 });
    expect(noted).toEqual([]);
  });
});

describe('somebody else who takes letters of a discard that is noted', () => {
  it('all of a step: it goes on with what remains', async () => {
    const { discard, others, take, looks, discarded, noted } = stage(letters(700));
    others.before = (look) => {
      if (look === 'discard' && !looks.includes('discard')) take(200);
    };
    expect(await discard()).toEqual({ moved: 500, remaining: 0 });
    expect(discarded).toHaveLength(500);
    expect(noted).toHaveLength(700);
  });

  it('a whole lot: only the letters of one step are noted and not discarded', async () => {
    const { discard, others, take, looks, discarded, noted } = stage(letters(3_000));
    others.before = (look) => {
      // The fourth lot of 1,600 begins after the steps of 200, 400 and 800 letters.
      if (look === 'discard' && looks.filter((one) => one === 'discard').length === 7) take(1_600);
    };
    expect(await discard()).toEqual({ moved: 1_400, remaining: 0 });
    const gone = new Set(idsOf(discarded));
    expect(noted.filter(({ messageId }) => !gone.has(messageId))).toHaveLength(200);
  });

  it('some of a step: what remains is told as it is', async () => {
    const { discard, others, take, looks, progress } = stage(letters(500));
    others.before = (look) => {
      if (look === 'discard' && !looks.includes('discard')) take(150);
    };
    expect(await discard()).toEqual({ moved: 350, remaining: 0 });
    expect(progress).toEqual([
      [50, 300],
      [250, 100],
      [350, 0],
    ]);
  });

  it('always before it: it ends when nothing is there any more', async () => {
    const { discard, others, take } = stage(letters(900));
    others.before = (look) => {
      if (look === 'discard') take(200);
    };
    expect(await discard()).toEqual({ moved: 0, remaining: 0 });
  });

  it('nobody: a store that lists what it does not discard is not asked for ever', async () => {
    const { discard, store, looks } = stage(letters(450));
    store.discard = async (_filter, limit) => {
      looks.push(limit === 0 ? 'count' : 'discard');
      return { moved: 0, remaining: 450 };
    };
    expect(await discard()).toEqual({ moved: 0, remaining: 450 });
    expect(looks.filter((look) => look === 'discard')).toHaveLength(1);
  });
});
