/** Fair shares, and what consumers tell each other about who is there. */
import { describe, expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { type MemberHint, Members, shareOf } from './members.ts';

const all = (members: readonly string[], partitions: number): readonly ReadonlySet<number>[] =>
  members.map((one) => shareOf(one, members, partitions));

describe('shareOf', () => {
  it('gives every partition to one member, and nobody more than one above another', () => {
    for (const partitions of [1, 4, 8, 64])
      for (let count = 1; count <= 10; count += 1) {
        const members = Array.from({ length: count }, (_, index) => `amq.gen-${index * 7919}#1`);
        const shares = all(members, partitions);
        expect(shares.flatMap((one) => [...one]).toSorted((a, b) => a - b)).toEqual(
          Array.from({ length: partitions }, (_, index) => index),
        );
        const sizes = shares.map(({ size }) => size);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }
  });

  it('says the same whoever asks, in whatever order the members are known', () => {
    const members = ['c', 'a', 'b'];
    expect(shareOf('a', members, 8)).toEqual(shareOf('a', members.toSorted(), 8));
  });
});

interface Told {
  readonly from: string;
  readonly hint: MemberHint;
  readonly to: string | undefined;
}

/** Members that hear each other at once; `dead` ones have no queue any more. */
function group(names: readonly string[]) {
  const clock = createManualClock();
  const told: Told[] = [];
  const dead = new Set<string>();
  const members = new Map<string, Members>();
  for (const name of names)
    members.set(
      name,
      new Members({
        clock,
        onChange: () => {},
        async tell(hint, to) {
          told.push({ from: name, hint, to });
          if (to !== undefined && dead.has(to)) return false;
          for (const [other, one] of members)
            if (!dead.has(other) && (to === undefined || to === other)) one.hear(hint);
          return true;
        },
      }),
    );
  return { clock, told, dead, members };
}

/** Step by step, with what is told arriving before the first and in between. */
async function pass(clock: ReturnType<typeof createManualClock>, seconds: number, times = 1): Promise<void> {
  for (let step = 0; step <= times; step += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    if (step < times) clock.advance(seconds * 1_000);
  }
}

describe('Members', () => {
  it('know each other after they joined, share all partitions, and forget one that leaves', async () => {
    const { members } = group(['a', 'b', 'c']);
    for (const [name, one] of members) await one.join(name);
    expect([...members.values()].map(({ count }) => count)).toEqual([3, 3, 3]);
    const partitions = [...members.values()].flatMap((one) => [...one.share(8)]);
    expect(partitions.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    await members.get('b')?.leave();
    expect(members.get('a')?.count).toBe(2);
    expect(members.get('b')?.share(8).size).toBe(0);
  });

  it('take over from one whose connection is gone, and not from one that is merely silent', async () => {
    const { members, clock, dead } = group(['a', 'b']);
    for (const [name, one] of members) await one.join(name);
    await pass(clock, 1, 5);
    expect(members.get('a')?.share(8).size).toBe(4);
    dead.add('b');
    await pass(clock, 1);
    expect(members.get('a')?.share(8).size).toBe(8);
  });

  it('ask who is said to be gone, again for a moment, and believe only that its queue is not there', async () => {
    const { members, clock, dead, told } = group(['a#1', 'b#1', 'b#2']);
    for (const [name, one] of members) await one.join(name);
    const a = members.get('a#1') as Members;
    const asked = (): number => told.filter(({ from, to }) => from === 'a#1' && to === 'b#1').length;
    const before = asked();
    void a.doubt('b');
    await pass(clock, 0.01, 3);
    expect([asked() - before, a.count]).toEqual([4, 3]);
    dead.add('b#1').add('b#2');
    await pass(clock, 0.01, 1);
    expect(a.count).toBe(1);
    dead.clear();
    await pass(clock, 0.01, 20);
    expect(asked() - before).toBe(5);
  });

  it('ask no more than ten times whoever is there after all', async () => {
    const { members, clock, told } = group(['a#1', 'b#1']);
    for (const [name, one] of members) await one.join(name);
    const before = told.length;
    void members.get('a#1')?.doubt('b');
    await pass(clock, 0.01, 50);
    expect(told.length - before).toBe(10);
    expect(members.get('a#1')?.count).toBe(2);
  });
});
