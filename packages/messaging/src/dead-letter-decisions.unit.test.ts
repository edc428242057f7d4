import { describe, expect, it } from 'vitest';
import { type Decision, type DecisionLog, rewindNoted } from './dead-letter-decisions.ts';
import type { ReplayPoint } from './engine.ts';

const place = { channel: 'order.kept', name: 'report' };

/** What a rewind at time 100,000 did, in its order. */
async function rewound(from: ReplayPoint, refusesToNote = false): Promise<readonly unknown[]> {
  const done: unknown[] = [];
  const log: DecisionLog = {
    async note(decisions) {
      if (refusesToNote) throw new Error('away');
      done.push(...decisions.map(({ kind, at }: Decision) => [kind, at]));
    },
    about: async () => [],
    since: async () => 0,
  };
  const connection = {
    rewind: async (_: unknown, __: unknown, options: { readonly dryRun?: boolean } = {}) =>
      void done.push(options.dryRun ? 'tried' : 'rewound'),
  };
  await rewindNoted(connection, log, place, from, 100_000).catch((error: Error) => done.push(error.message));
  return done;
}

describe('a rewind with a log of decisions', () => {
  it.each<[ReplayPoint, number]>([
    ['latest', 105_000],
    [{ offset: '0/7' }, 105_000],
    [{ timeMs: 40_000 }, 45_000],
  ])('to %j notes what it may skip before it does, with a margin for clocks', async (from, at) => {
    expect(await rewound(from)).toEqual(['tried', ['skipped', at], 'rewound']);
  });

  it('to the earliest skips nothing', async () => {
    expect(await rewound('earliest')).toEqual(['rewound']);
  });

  it('that cannot be noted is not done', async () => {
    expect(await rewound('latest', true)).toEqual(['tried', 'away']);
  });
});
