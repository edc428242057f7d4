/** What a view says of a message that is settled nowhere: it may wait, it is not there, or nobody can know. */
import { describe, expect, it } from 'vitest';
import type { SubscriptionView } from './engine.ts';
import { EngineBacklog } from './reconciliation-engine.ts';

const empty: SubscriptionView = {
  name: 's',
  ready: 0,
  delayed: 0,
  waitingForKey: 0,
  inFlight: 0,
  oldestAgeMs: undefined,
  deadLetters: [],
  expired: 0,
  consumers: 0,
};

async function backlogOf(
  view: Partial<SubscriptionView>,
  assumeIdle = false,
  showsAll = false,
): Promise<EngineBacklog> {
  const channels = [{ name: 'c', scheduled: 0, subscriptions: [{ ...empty, ...view }] }];
  const deadLetters = { list: async () => [] };
  const backlog = new EngineBacklog({ deadLetters, view: async () => ({ channels, showsAll }) }, assumeIdle);
  await backlog.look();
  return backlog;
}

describe('the backlog of an engine', () => {
  it('is certain where the view is of the whole engine', async () => {
    const backlog = await backlogOf({ ready: 1, oldestAgeMs: 10_000 });
    expect(backlog.mayHold('c', 's', 10_000)).toBe(true);
    expect(backlog.mayHold('c', 's', 60_000)).toBe(false);
    expect(backlog.doubt('c', 's')).toBeUndefined();
    expect(new EngineBacklog(undefined, false).doubt('c', 's')).toBeUndefined();
  });

  it('takes no age for the oldest that may not be it, as long as anything waits', async () => {
    const partial = ['oldestAgeMs'] as const;
    expect((await backlogOf({ ready: 1, oldestAgeMs: 1, partial })).mayHold('c', 's', 60_000)).toBe(true);
    const drained = await backlogOf({ partial });
    expect(drained.mayHold('c', 's', 60_000)).toBe(false);
    expect(drained.doubt('c', 's')).toBeUndefined();
  });

  it('takes what the run itself published there for no backlog, as long as no consumer may have taken any', async () => {
    const partial = ['oldestAgeMs'] as const;
    const channels = (view: Partial<SubscriptionView>) => [
      { name: 'c', scheduled: 0, subscriptions: [{ ...empty, partial, ...view }] },
    ];
    let seen: Partial<SubscriptionView> = {};
    const deadLetters = { list: async () => [] };
    const view = async () => ({ channels: channels(seen) });
    const looks = async (...views: readonly Partial<SubscriptionView>[]): Promise<readonly boolean[]> => {
      const backlog = new EngineBacklog({ deadLetters, view }, true);
      for (const _ of [1, 2]) backlog.addOwn('c', 's');
      const held: boolean[] = [];
      for (seen of views) {
        await backlog.look();
        held.push(backlog.mayHold('c', 's', 60_000));
      }
      return held;
    };
    expect(await looks({ ready: 2 }, { ready: 2 })).toEqual([false, false]);
    // Another process, or a redrive, has put one there.
    expect(await looks({ ready: 3 }, { ready: 2, delayed: 1 })).toEqual([true, true]);
    // Perhaps one of ours was taken, and one of others came: also in a later look.
    expect(await looks({ ready: 2, consumers: 1 }, { ready: 2 })).toEqual([true, true]);
    expect(await looks({ ready: 1 }, { ready: 2 })).toEqual([true, true]);
    expect(await looks({ ready: 1 }, {})).toEqual([true, false]);
    // The age of the oldest tells more.
    expect(await looks({ ready: 2, partial: [], oldestAgeMs: 60_000 })).toEqual([true]);
    expect(await looks({ ready: 2, partial: [], oldestAgeMs: 10 })).toEqual([false]);
  });

  it.each(['ready', 'delayed', 'waitingForKey', 'inFlight'] as const)(
    'doubts where %s is a part, unless somebody vouches for the rest',
    async (count) => {
      expect((await backlogOf({ partial: [count] })).doubt('c', 's')).toBe('partial');
      expect((await backlogOf({ partial: [count] }, true)).doubt('c', 's')).toBeUndefined();
    },
  );

  it('knows that what is not shown is not there where all is shown', async () => {
    const backlog = await backlogOf({}, false, true);
    expect(backlog.isBlindTo('c', 'other')).toBe(false);
    expect(backlog.doubt('c', 'other')).toBeUndefined();
  });

  it('is blind to a subscription that is not shown where not all is, whoever vouches', async () => {
    expect((await backlogOf({})).doubt('c', 'other')).toBe('blind');
    expect((await backlogOf({}, true)).doubt('c', 'other')).toBe('blind');
  });
});
