/** A redrive whose process is killed in the middle of it, at each of its steps, and two processes that redrive in the same moment; each with its mistake as the control. */
import { DatabaseSync } from 'node:sqlite';
import { afterAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { startChild, type ToldProcess } from '../../conformance/child-process.ts';
import { registerControls } from '../../conformance/controls.ts';
import { eventually, limitPatience } from '../../conformance/fixture.ts';
import { alreadyHandled, inboxSchema } from '../../inbox.ts';
import { ack, deadLetter } from '../../outcome.ts';
import { inOrder, orders, rabbitUrl, removeLadder, withBus, withFixture } from './conformance-fixture.ts';
import { withoutSingleReader } from './redrive-child.ts';
import { withDefect } from './wire-defects.ts';

const LADDER = 'redrive.';
/** A healthy one needs a fraction of it, and on a machine with other work more than one that waits in vain is given. */
const PATIENCE_MS = 12_000;
const VAIN_MS = 3_000;
const KEYS = ['a', 'b', 'c', 'd', 'e'];
const PER_KEY = 50;
const ALL = KEYS.length * PER_KEY;
const CHILD = new URL('./redrive-child.ts', import.meta.url);

interface Redriven {
  /** Of one message each, repeats included. */
  readonly deliveries: readonly { readonly key: string; readonly n: number }[];
  /** Behind the inbox. */
  readonly effects: readonly { readonly key: string; readonly n: number }[];
  /** Told by the children that came to their end. */
  readonly moved: readonly number[];
}

type Disturb = (start: (planted: string) => ToldProcess) => Promise<readonly number[]>;

/** 250 dead letters, of which `disturb` redrives some; then what is left is redriven here, until all were handled. */
async function redriveDisturbed(
  channel: typeof orders | typeof inOrder,
  disturb: Disturb,
): Promise<Redriven> {
  const inbox = new DatabaseSync(':memory:');
  inbox.exec(inboxSchema);
  const deliveries: { key: string; n: number }[] = [];
  const effects: { key: string; n: number }[] = [];
  let isWorking = false;
  let moved: readonly number[] = [];
  await withFixture({ ladderPrefix: LADDER }, (fixture) =>
    withBus(fixture.engine(), [channel], async (bus) => {
      await bus.subscribe(channel, {
        name: 'one',
        concurrency: 8,
        retries: { immediate: 0, delayed: [] },
        handler: ({ id, data, headers: { of: key = '' } }) => {
          if (!isWorking) return deadLetter('not yet');
          deliveries.push({ key, n: data.n });
          inbox.exec('BEGIN IMMEDIATE');
          const entry = { subscription: 'one', messageId: id, now: systemClock.now() };
          if (!alreadyHandled(inbox, entry)) effects.push({ key, n: data.n });
          inbox.exec('COMMIT');
          return ack();
        },
      }).started;
      for (let n = 0; n < PER_KEY; n += 1)
        await bus.publishBatch(
          channel,
          KEYS.map((key) => ({
            data: { n },
            options: { headers: { of: key }, ...(channel === inOrder ? { key } : {}) },
          })),
        );
      const letters = async (): Promise<number> =>
        (await bus.deadLetters.groups()).reduce((sum, { count }) => sum + count, 0);
      await eventually(letters, (count) => count === ALL, 'all of them dead letters');
      isWorking = true;
      moved = await disturb((planted) => startChild(CHILD, [fixture.prefix, LADDER, channel.name, planted]));
      await bus.deadLetters.redrive({});
      await eventually(
        async () => ({ handled: effects.length, letters: await letters() }),
        ({ handled, letters: left }) => handled === ALL && left === 0,
        'all handled, and no letter left',
      );
    }),
  );
  inbox.close();
  return { deliveries, effects, moved };
}

async function killAt(planted: string, start: (planted: string) => ToldProcess): Promise<readonly number[]> {
  const child = start(planted);
  try {
    await child.line('halted');
  } finally {
    child.send('SIGKILL');
    await child.ended;
  }
  return [];
}

/** The first has the older letters in its hands, and the second sends the younger ones before it goes on. */
async function oneHalfEach(children: readonly ToldProcess[]): Promise<void> {
  for (const child of children) {
    child.send('SIGUSR2');
    await child.line('holding');
  }
  for (const child of children.toReversed()) {
    child.send('SIGUSR2');
    await child.line('moved');
  }
}

async function twoAtOnce(
  planted: string,
  start: (planted: string) => ToldProcess,
): Promise<readonly number[]> {
  const children = [start(planted), start(planted)];
  try {
    await Promise.all(children.map((child) => child.line('halted')));
    if (planted === 'greedy') await oneHalfEach(children);
    else for (const child of children) child.send('SIGUSR2');
    const lines = await Promise.all(children.map((child) => child.line('moved')));
    return lines.map((line) => Number(line.split(' ')[1]));
  } finally {
    for (const child of children) child.send('SIGKILL');
    await Promise.all(children.map(({ ended }) => ended));
  }
}

const inTheirOrder = Object.fromEntries(
  KEYS.map((key) => [key, Array.from({ length: PER_KEY }, (_, n) => n)]),
);

/** What was handled of each key. */
const byKey = ({ effects }: Redriven): Record<string, readonly number[]> =>
  Object.fromEntries(KEYS.map((key) => [key, effects.filter((one) => one.key === key).map(({ n }) => n)]));

async function redrivenByTwo(planted: string): Promise<void> {
  const redriven = await redriveDisturbed(inOrder, (start) => twoAtOnce(planted, start));
  expect(byKey(redriven)).toEqual(inTheirOrder);
  expect(redriven.deliveries).toHaveLength(ALL);
  expect(redriven.moved.reduce((a, b) => a + b)).toBe(ALL);
}

async function redrivenInSpiteOf(planted: string): Promise<void> {
  const { effects, deliveries } = await redriveDisturbed(orders, async (start) => {
    await killAt(planted, start);
    // What it should have sent is waited for in vain.
    if (planted === 'careless') limitPatience(VAIN_MS);
    return [];
  });
  expect(effects).toHaveLength(ALL);
  // What was sent by the one that was killed came twice, as far as its letter was still there.
  expect(deliveries.length).toBeGreaterThan(ALL);
}

limitPatience(PATIENCE_MS);

describe.skipIf(!rabbitUrl)('redrives of several processes (needs RABBITMQ_URL)', { timeout: 60_000 }, () => {
  afterAll(() => removeLadder(LADDER));

  it.each(['copies', 'confirmed'])('a redrive that is killed (%s) is gone on with', redrivenInSpiteOf);

  it.each(['copies', 'confirmed', 'removal'])(
    'with order per key each sequence is in its order all the same (%s)',
    async (planted) => {
      const redriven = await redriveDisturbed(inOrder, (start) => killAt(planted, start));
      expect(byKey(redriven)).toEqual(inTheirOrder);
    },
  );

  // Each begins with the healthy run.
  registerControls(it, 'rabbitmq', [
    {
      defect: 'letters leave before their copies are stored',
      caughtBy:
        'a redrive that is killed among the removals is gone on with: no letter lost, each handled once behind an inbox',
      healthy: () => redrivenInSpiteOf('removal'),
      defective: () => redrivenInSpiteOf('careless').finally(() => limitPatience(PATIENCE_MS)),
    },
    {
      defect: 'two read the letters side by side',
      caughtBy: 'two that redrive in the same moment send every letter once, and every key in its order',
      healthy: () => redrivenByTwo('together'),
      defective: () => withDefect('assertQueue', withoutSingleReader, () => redrivenByTwo('greedy')),
    },
  ]);
});
