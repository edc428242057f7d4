import { expect, it } from 'vitest';
import { createManualClock } from '../conformance/manual-clock.ts';
import { Unawaited } from './unawaited.ts';

const never = (): Promise<never> => new Promise<never>(() => {});
const broken = new Error('the pool broke');

it('what breaks ends what is waited for, before it and in it, whatever was thrown', async () => {
  for (const error of [broken, undefined]) {
    const unawaited = new Unawaited(createManualClock());
    const waiting = unawaited.unlessBroken(never);
    unawaited.broke(error);
    unawaited.broke(new Error('the next of the pool'));
    await expect(waiting).rejects.toBe(error);
    await expect(unawaited.unlessBroken(async () => 1)).rejects.toBe(error);
  }
  expect(await new Unawaited(createManualClock()).unlessBroken(async () => 1)).toBe(1);
});

it('what had better come to its end gets its time, and no more', async () => {
  const clock = createManualClock();
  const unawaited = new Unawaited(clock);
  const gate = Promise.withResolvers<string>();
  const ends = unawaited.unlessBroken(() => gate.promise, 100);
  const hangs = unawaited.unlessBroken(never, 100);
  unawaited.broke(broken);
  await Promise.resolve();
  gate.resolve('published');
  expect(await ends).toBe('published');
  // Its timer is the only one that is left.
  clock.advance(100);
  await expect(hangs).rejects.toBe(broken);
  expect(clock.nextTimerAt()).toBeUndefined();
});

it('a run ends with what broke; in its telling part as that ends; after it with what broke', async () => {
  const runOf = (unawaited: Unawaited, work: () => Promise<string>, closing = never): Promise<string> =>
    unawaited.ending(async () => {
      const told = await unawaited.telling(work);
      await closing();
      return told;
    });
  const plain = new Unawaited(createManualClock());
  const run = plain.ending(never);
  plain.broke(broken);
  await expect(run).rejects.toBe(broken);

  const telling = new Unawaited(createManualClock());
  const told = runOf(telling, () => telling.unlessBroken(never).catch(() => 'the report so far'));
  telling.broke(broken);
  expect(await told).toBe('the report so far');
  expect(telling.hasTold).toBe(false);

  const nothing = new Unawaited(createManualClock());
  const empty = runOf(nothing, () => nothing.unlessBroken(never));
  nothing.broke(broken);
  await expect(empty).rejects.toBe(broken);

  const after = new Unawaited(createManualClock());
  const closing = Promise.withResolvers<void>();
  const late = runOf(
    after,
    async () => 'the report',
    () => {
      closing.resolve();
      return never();
    },
  );
  await closing.promise;
  after.broke(broken);
  await expect(late).rejects.toBe(broken);
  expect(after.hasTold).toBe(true);
});
