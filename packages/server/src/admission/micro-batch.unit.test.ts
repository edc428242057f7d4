import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import { OperationalError } from '../errors.ts';
import type { AdmissionAnswer, AdmissionCommand } from '../ledger.ts';
import { MicroBatch } from './micro-batch.ts';

const command = (i: number): AdmissionCommand => ({
  memberKey: `m${i}`,
  salt: '',
  answers: null,
  screenedOut: false,
});
const answer = (i: number): AdmissionAnswer => ({
  decision: { verdict: 'paused' },
  receipt: null,
  salt: null,
  at: i,
});

/** A ledger that answers when it is told to. */
function made(limit = 10_000) {
  const sent: {
    readonly commands: readonly AdmissionCommand[];
    reply: () => void;
    fail: (error: Error) => void;
  }[] = [];
  const deferred: (() => void)[] = [];
  const told: number[] = [];
  const batch = new MicroBatch({
    admit: (commands) => {
      const { promise, resolve, reject } = Promise.withResolvers<readonly AdmissionAnswer[]>();
      sent.push({
        commands,
        reply: () => resolve(commands.map((c) => answer(Number(c.memberKey.slice(1))))),
        fail: reject,
      });
      return promise;
    },
    limit,
    clock: createManualClock(),
    defer: (fn) => void deferred.push(fn),
    onAnswers: (commands) => void told.push(commands.length),
  });
  const turn = () => deferred.splice(0).forEach((fn) => fn());
  const submit = (from: number, count: number) =>
    Array.from(
      { length: count },
      (_, i) =>
        new Promise<AdmissionAnswer>((answered, failed) =>
          batch.submit(command(from + i), { answered, failed }),
        ),
    );
  return { batch, sent, told, turn, submit };
}

describe('the micro-batch', () => {
  it('sends what one turn brought as one batch, and what comes meanwhile as the next, without a timer', async () => {
    const { sent, turn, submit, told } = made();
    const first = submit(0, 5);
    expect(sent).toHaveLength(0);
    turn();
    expect(sent.map((batch) => batch.commands.length)).toEqual([5]);
    const second = submit(5, 7);
    turn();
    expect(sent).toHaveLength(1);
    sent[0]!.reply();
    expect((await Promise.all(first)).map((a) => a.at)).toEqual([0, 1, 2, 3, 4]);
    expect(sent.map((batch) => batch.commands.length)).toEqual([5, 7]);
    sent[1]!.reply();
    expect((await Promise.all(second)).map((a) => a.at)).toEqual([5, 6, 7, 8, 9, 10, 11]);
    expect(told).toEqual([5, 7]);
  });

  it('keeps two outstanding at most, none above 512, and the order', async () => {
    const { sent, turn, submit } = made();
    const all = submit(0, 1_500);
    turn();
    expect(sent.map((batch) => batch.commands.length)).toEqual([512, 512]);
    turn();
    expect(sent).toHaveLength(2);
    sent[0]!.reply();
    await all[0];
    expect(sent.map((batch) => batch.commands.length)).toEqual([512, 512, 476]);
    expect(sent.flatMap((batch) => batch.commands).map((c) => c.memberKey)).toEqual(
      Array.from({ length: 1_500 }, (_, i) => `m${i}`),
    );
  });

  it('refuses beyond its limit, and takes again when there is room', async () => {
    const { turn, submit, sent } = made(10);
    const results = submit(0, 12).map((p) => p.catch((error: unknown) => (error as OperationalError).code));
    turn();
    expect(await Promise.all(results.slice(10))).toEqual(['ADMISSION_FULL', 'ADMISSION_FULL']);
    const late = submit(12, 1);
    sent[0]!.reply();
    await results[0];
    sent[1]!.reply();
    expect((await late[0])!.at).toBe(12);
  });

  it('gives a failed batch its error, alone, and goes on', async () => {
    const { sent, turn, submit, batch } = made();
    const failing = submit(0, 2);
    turn();
    const next = submit(2, 1);
    sent[0]!.fail(new OperationalError('LEDGER_BUSY'));
    for (const result of await Promise.allSettled(failing))
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'LEDGER_BUSY' } });
    expect(batch.isUnderWay('m0')).toBe(false);
    sent[1]!.reply();
    expect((await next[0])!.at).toBe(2);
  });

  it('knows who is under way until every copy has its answer, and when nothing is', async () => {
    const { sent, turn, submit, batch } = made();
    const settled: string[] = [];
    const one = submit(1, 1);
    turn();
    const two = submit(1, 1);
    void batch.settled().then(() => settled.push('idle'));
    sent[0]!.reply();
    await one[0];
    expect(batch.isUnderWay('m1')).toBe(true);
    expect(settled).toEqual([]);
    sent[1]!.reply();
    await two[0];
    await batch.settled();
    expect(batch.isUnderWay('m1')).toBe(false);
    expect(settled).toEqual(['idle']);
  });
});
