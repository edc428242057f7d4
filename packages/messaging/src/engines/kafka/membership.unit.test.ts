/**
 * Membership with the client's joining and leaving replaced. While the group has no coordinator: what is tried again, for how long, and what is not. And leaving, whatever
 * the member waits for just then: one life with each kind of wait, and the leaving falls into the first of them, the second, and so on.
 */
import { Consumer, MultipleErrors, ProtocolError } from '@platformatic/kafka';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Clock } from '../../clock.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { Membership } from './membership.ts';
import { settingsOf } from './options.ts';
import { loneMembership } from './testing/lone-membership.ts';

const settings = settingsOf({ url: 'kafka://127.0.0.1:1', requestTimeoutMs: 2_000 });

/** Each wait is over at the next turn of the event loop, and the clock has moved by it. */
function rushingClock(): Clock {
  const manual = createManualClock();
  return {
    ...manual,
    setTimer(ms, fn) {
      setImmediate(() => manual.advance(ms));
      return manual.setTimer(ms, fn);
    },
  };
}

/** As the client gives it when its own tries are used up. */
const failed = (id: string): Error =>
  new MultipleErrors('findGroupCoordinator failed 4 times.', [
    new MultipleErrors('Received response with error', [new ProtocolError(id as never)]),
  ]);

describe('joining a group whose coordinator is away', () => {
  const clock = rushingClock();
  const trouble: Error[] = [];
  let answers: (Error | undefined)[] = [];
  let tries = 0;

  beforeEach(() => {
    tries = 0;
    trouble.length = 0;
    vi.spyOn(Consumer.prototype, 'joinGroup').mockImplementation((async () => {
      tries += 1;
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer) throw answer;
    }) as never);
    vi.spyOn(Consumer.prototype, 'leaveGroup').mockImplementation((async () => {}) as never);
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const membership = () => loneMembership(settings, clock, { onTrouble: (error) => trouble.push(error) });

  it.each(['COORDINATOR_NOT_AVAILABLE', 'COORDINATOR_LOAD_IN_PROGRESS', 'NOT_COORDINATOR'])(
    'is tried again on %s until it is there',
    async (id) => {
      answers = [failed(id), failed(id), failed(id), undefined];
      await membership().join();
      expect(tries).toBe(4);
    },
  );

  it('is given up when a request may take no longer, with the reason', async () => {
    answers = [failed('COORDINATOR_NOT_AVAILABLE')];
    await expect(membership().join()).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNREACHABLE',
      message: expect.stringContaining('coordinator is not available'),
    });
    // At once, and every 0.2 s of two seconds.
    expect(tries).toBe(11);
  });

  it.each(['GROUP_AUTHORIZATION_FAILED', 'INCONSISTENT_GROUP_PROTOCOL'])(
    'what waiting does not help is not tried again: %s',
    async (id) => {
      answers = [failed(id), undefined];
      await expect(membership().join()).rejects.toThrow('findGroupCoordinator failed');
      expect(tries).toBe(1);
    },
  );

  it('ends with the leaving of whoever wanted to join', async () => {
    answers = [failed('NOT_COORDINATOR')];
    const one = membership();
    const joining = one.join();
    await Promise.all([one.leave(), expect(joining).rejects.toMatchObject({ retryable: true })]);
    expect(tries).toBeLessThan(4);
  });
});

/** What is tried in a life: a first join at the second try, and another one when the broker has put the member out, at the third. */
const ANSWERS = [
  failed('NOT_COORDINATOR'),
  undefined,
  failed('COORDINATOR_NOT_AVAILABLE'),
  failed('GROUP_AUTHORIZATION_FAILED'),
  undefined,
];
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('leaving while something is under way', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  interface Life {
    readonly waits: readonly string[];
    /** In the group, and with connections, when the leaving was over. */
    readonly members: number;
    readonly open: number;
    readonly triesAfterwards: number;
    readonly identity: unknown;
  }

  /** Lives until `leaveAt` waits have begun, or else to the end. */
  async function live(leaveAt: number): Promise<Life> {
    const waits: string[] = [];
    const [members, open] = [new Set<Consumer>(), new Set<Consumer>()];
    const answers = [...ANSWERS];
    let [tries, triesWhenLeft, joins] = [0, 0, 0];
    let leaving: Promise<void> | undefined;
    const leave = (): void => {
      if (leaving) return;
      triesWhenLeft = tries;
      leaving = one.leave();
    };
    const wait = async (what: string): Promise<void> => {
      waits.push(what);
      const isTheOne = waits.length === leaveAt;
      await turn();
      if (isTheOne) leave();
      await turn();
    };
    vi.spyOn(Consumer.prototype, 'joinGroup').mockImplementation(async function (this: Consumer) {
      tries += 1;
      open.add(this);
      await wait('its joining');
      const answer = answers.shift();
      if (answer) throw answer;
      members.add(this);
      joins += 1;
      this.emit('consumer:group:join', {
        groupId: 'g',
        memberId: `m-${joins}`,
        generationId: joins,
        isLeader: true,
        assignments: [{ topic: 't', partitions: [0] }],
      });
      await wait('the answer to its joining');
    } as never);
    vi.spyOn(Consumer.prototype, 'leaveGroup').mockImplementation(async function (this: Consumer) {
      await wait('its leaving');
      members.delete(this);
    } as never);
    vi.spyOn(Consumer.prototype, 'close').mockImplementation(async function (this: Consumer) {
      await wait('its closing');
      open.delete(this);
    } as never);
    const manual = createManualClock();
    const one = new Membership({
      settings: settingsOf({ url: 'kafka://127.0.0.1:1', memberName: 'a' }),
      clock: {
        ...manual,
        setTimer(ms, fn) {
          void wait('a pause').then(() => manual.advance(ms));
          return manual.setTimer(ms, fn);
        },
      },
      group: 'g',
      topic: 't',
      beforeRejoin: async () => {},
      onAssigned: () => {},
      async holderOf() {
        await wait('who goes by its name');
        return undefined;
      },
      ask: async () => {},
      onTrouble: () => {},
    });
    await one.join().then(
      () => one.renew(),
      (error: unknown) =>
        expect(error).toMatchObject({ code: expect.stringMatching(/STOPPED|UNREACHABLE/u) }),
    );
    while (leaving === undefined && (joins < 2 || one.identity === undefined)) await turn();
    leave();
    await leaving;
    const then = { members: members.size, open: open.size };
    // Nothing that was left behind goes on.
    for (let left = 20; left > 0; left -= 1) await turn();
    expect({ members: members.size, open: open.size }).toEqual(then);
    return { waits, ...then, triesAfterwards: tries - triesWhenLeft, identity: one.identity };
  }

  it('nobody stays in the group, nothing stays connected, and nothing is tried again, whichever wait it falls into', async () => {
    const whole = await live(Infinity);
    expect(new Set(whole.waits)).toEqual(
      new Set([
        'its joining',
        'the answer to its joining',
        'a pause',
        'who goes by its name',
        'its leaving',
        'its closing',
      ]),
    );
    expect(whole.waits.filter((what) => what === 'a pause').length).toBeGreaterThan(2);
    for (const [index, what] of whole.waits.entries()) {
      vi.restoreAllMocks();
      const { waits: _, ...left } = await live(index + 1);
      expect({ what, ...left }).toEqual({
        what,
        members: 0,
        open: 0,
        triesAfterwards: 0,
        identity: undefined,
      });
    }
  });

  it('what has left does not join again', async () => {
    const joinGroup = vi.spyOn(Consumer.prototype, 'joinGroup');
    const one = loneMembership(settings, rushingClock());
    await one.leave();
    await expect(one.join()).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
    expect(joinGroup).not.toHaveBeenCalled();
  });
});

describe('whether it still is a member', () => {
  const SESSION_MS = 1_000;
  const manual = createManualClock();
  const joined: Consumer[] = [];
  let asked = 0;
  let answer: Error | undefined;
  let assigned: (readonly number[])[] = [];

  beforeEach(() => {
    [asked, answer, assigned] = [0, undefined, []];
    vi.spyOn(Consumer.prototype, 'joinGroup').mockImplementation(async function (this: Consumer) {
      joined.push(this);
      const assignments = [{ topic: 't', partitions: [0] }];
      this.emit('consumer:group:join', {
        groupId: 'g',
        memberId: 'm',
        generationId: 1,
        isLeader: true,
        assignments,
      });
    } as never);
    vi.spyOn(Consumer.prototype, 'leaveGroup').mockImplementation((async () => {}) as never);
  });
  afterEach(() => {
    joined.length = 0;
    vi.restoreAllMocks();
  });

  async function member(): Promise<Membership> {
    const one = new Membership({
      settings: settingsOf({ url: 'kafka://127.0.0.1:1', sessionTimeoutMs: SESSION_MS }),
      clock: manual,
      group: 'g',
      topic: 't',
      beforeRejoin: async () => {},
      onAssigned: (partitions) => assigned.push(partitions),
      holderOf: async () => undefined,
      async ask() {
        asked += 1;
        if (answer) throw answer;
      },
      onTrouble: () => {},
    });
    await one.join();
    return one;
  }
  const beat = (): void => {
    const payload = { groupId: 'g', memberId: 'm', generationId: 1 };
    joined[0]?.emit('consumer:heartbeat:start', payload);
    manual.advance(300);
    joined[0]?.emit('consumer:heartbeat:end', payload);
  };

  it('is known for a session from when the last answer was asked for, and asked then', async () => {
    const one = await member();
    beat();
    manual.advance(SESSION_MS - 301);
    await one.makeSure();
    expect(asked).toBe(0);
    manual.advance(1);
    await one.makeSure();
    expect(asked).toBe(1);
    // The answer counts for a session too.
    manual.advance(SESSION_MS - 1);
    await one.makeSure();
    expect(asked).toBe(1);
    await one.leave();
  });

  it('is asked after each joining: its answer may have waited here for as long as the process stood still', async () => {
    const one = await member();
    await one.makeSure();
    expect(asked).toBe(1);
    await one.leave();
  });

  it.each(['UNKNOWN_MEMBER_ID', 'FENCED_INSTANCE_ID'])('is none on %s: all is let go of', async (id) => {
    const one = await member();
    manual.advance(SESSION_MS);
    answer = failed(id);
    await one.makeSure();
    expect(assigned.slice(0, 2)).toEqual([[0], []]);
    await one.leave();
  });

  it('still is while the group is joined anew, and what has no answer is to be tried again', async () => {
    const one = await member();
    manual.advance(SESSION_MS);
    answer = failed('REBALANCE_IN_PROGRESS');
    await one.makeSure();
    answer = new Error('nobody answers');
    await expect(one.makeSure()).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNREACHABLE',
      retryable: true,
    });
    expect(assigned).toEqual([[0]]);
    await one.leave();
  });
});
