// Each row of the saga's state machine: one claim in, the records and calls that follow, one result out. The claim is scripted here; that a
// real ledger hands out such claims and takes such records is shown in fulfilment.int.test.ts.
import { silentLog } from '@doorbuster/messaging';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import type { CampaignDefinition } from '../campaign/definition.ts';
import { OperationalError } from '../errors.ts';
import type { ClaimedDelivery, DeliveryAttempt, DeliveryResult, DeliveryStep } from '../ledger.ts';
import type { Messenger, SendResult } from './messenger.ts';
import { createProviders } from './providers.ts';
import { createSaga } from './saga.ts';
import type {
  CancelResult,
  IssueResult,
  QueryResult,
  VoucherSource,
  VoucherSourceClass,
} from './voucher-source.ts';

/** The value, with the effect done before. */
function after<T>(_effect: unknown, value: T): T {
  return value;
}

const definition: CampaignDefinition = {
  title: { ko: '봄 이벤트', en: 'Spring' },
  prize: { en: 'Coffee' },
  startsAt: '2026-12-01T10:00:00+09:00',
  stock: { capacity: 10 },
  reward: { voucherSource: 'acme', messengers: ['first', 'second'] },
};
const base: ClaimedDelivery = {
  deliveryId: 'spring.3.2',
  campaignId: 'spring',
  seq: 3,
  unit: 2,
  memberKey: '00'.repeat(16),
  generation: 1,
  fence: 1,
  leaseUntil: 0,
  attempts: 1,
  voucherState: 'none',
  voucherRequestedMsAgo: null,
  voucher: null,
  poolCode: null,
  messageState: 'none',
  unknownSendings: 0,
  messengerIndex: 0,
  contact: { email: 'a@example.com' },
  definition,
};
const voucher = { code: 'CODE-1' };
const issued: IssueResult = { result: 'issued', voucher };
const sent: SendResult = { result: 'sent' };
const timeout = { result: 'unknown', errorCode: 'timeout', detail: 'no answer' } as const;
const refusedNow = {
  result: 'refused',
  errorCode: 'http-429',
  detail: 'slow down',
  permanent: false,
} as const;
const refusedForGood = {
  result: 'refused',
  errorCode: 'http-422',
  detail: 'never',
  permanent: true,
} as const;

const recordOf = (step: DeliveryStep): string =>
  'issued' in step ? `voucher ${step.issued?.code} and ${step.step}` : step.step;

interface Script {
  readonly claim?: Partial<ClaimedDelivery>;
  readonly sourceClass?: VoucherSourceClass;
  readonly issue?: IssueResult[];
  readonly query?: QueryResult;
  readonly cancel?: CancelResult;
  readonly send?: SendResult[];
  readonly reaches?: (name: string) => boolean;
  readonly attempts?: Partial<DeliveryAttempt>[];
  /** Steps at which the ledger says that the claim is no longer ours. */
  readonly lostAt?: DeliveryStep['step'] | 'settle';
  readonly hang?: boolean;
}

function play(script: Script) {
  const clock = createManualClock(1_000_000);
  const log: string[] = [];
  const calls: string[] = [];
  let result: DeliveryResult | null = null;
  const issues = [...(script.issue ?? [issued])];
  const sends = [...(script.send ?? [sent])];
  const source: VoucherSource = {
    name: 'acme',
    sourceClass: script.sourceClass ?? 'idempotent',
    longestFlightMs: 30_000,
    async issue({ transactionId, signal }) {
      calls.push(`issue ${transactionId}`);
      if (script.hang) await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return issues.shift()!;
    },
    query: async ({ transactionId }) => after(calls.push(`query ${transactionId}`), script.query!),
    cancel: async ({ transactionId }) => after(calls.push(`cancel ${transactionId}`), script.cancel!),
    check: async () => [],
  };
  const messenger = (name: string): Messenger => ({
    name,
    canReach: () => script.reaches?.(name) ?? true,
    send: async ({ messageId }) => after(calls.push(`send ${name} ${messageId}`), sends.shift()!),
    check: async () => [],
    close: async () => {},
  });
  const providers = createProviders({
    sources: [{ source }],
    messengers: [{ messenger: messenger('first') }, { messenger: messenger('second') }],
    clock,
    observe: () => {},
  });
  const saga = createSaga({
    deliveries: {
      claim: async () => ({ ...base, ...script.claim }),
      progress: async (_id, fence, step) =>
        after(log.push(`${recordOf(step)} @${fence}`), script.lostAt !== step.step),
      settle: async (_id, fence, settled) => {
        log.push(`settle ${settled.result} @${fence}`);
        result = settled;
        return script.lostAt !== 'settle';
      },
      attempts: async () =>
        (script.attempts ?? []).map((one, index) => ({
          attempt: index,
          fence: index + 100,
          startedAt: 0,
          endedAt: 0,
          outcome: null,
          errorCode: null,
          error: null,
          ...one,
        })),
    },
    vault: { transactionId: (campaignId, unit, generation) => `${campaignId}|${unit}|${generation}` },
    sources: providers.sources,
    messengers: providers.messengers,
    pageUrl: () => 'https://shop.example/c/spring',
    clock,
    randomness: { bytes: (length) => new Uint8Array(length) },
    log: silentLog,
    observe: () => {},
    limits: { leaseMs: 60_000, backoff: { firstMs: 1_000, maxMs: 8_000 }, attemptsPerProvider: 3 },
  });
  return { run: saga.deliver('spring.3.2'), clock, log, calls, result: () => result };
}

async function played(script: Script) {
  const game = play(script);
  const run = await game.run;
  return { run, log: game.log, calls: game.calls, result: game.result() };
}

describe('the way of a voucher', () => {
  it('asks, records, marks as shown, sends and settles, in this order', async () => {
    const { log, calls, result } = await played({});
    expect(log).toEqual([
      'voucher-requested @1',
      'voucher-issued @1',
      'message-sending @1',
      'settle delivered @1',
    ]);
    expect(calls).toEqual(['issue spring|2|1', 'send first spring.3.2@doorbuster']);
    expect(result).toEqual({ result: 'delivered', messenger: 'first' });
  });

  it('does not ask again for a voucher it has', async () => {
    const { calls } = await played({ claim: { voucher, voucherState: 'issued', fence: 4 } });
    expect(calls).toEqual(['send first spring.3.2@doorbuster']);
  });

  it.each(['voucher-requested', 'voucher-issued', 'message-sending', 'settle'] as const)(
    'stops at once when %s is refused',
    async (lostAt) => {
      const { run, log, calls } = await played({ lostAt });
      expect(run.outcome).toBe('lost');
      expect(log.at(-1)).toContain(lostAt);
      const made = { 'voucher-requested': 0, 'voucher-issued': 1, 'message-sending': 1, settle: 2 };
      expect(calls).toHaveLength(made[lostAt]);
    },
  );

  it('from the pool is recorded with the sending, whether the claim has brought its code or not', async () => {
    const { log, calls } = await played({ sourceClass: 'pool' });
    expect(log).toEqual(['voucher CODE-1 and message-sending @1', 'settle delivered @1']);
    expect(calls).toEqual(['issue spring|2|1', 'send first spring.3.2@doorbuster']);
    const brought = await played({ sourceClass: 'pool', claim: { poolCode: { code: 'CODE-2' } } });
    expect(brought.log).toEqual(log);
  });

  it('from the pool is recorded before a result that is reached without a sending', async () => {
    const { log, result } = await played({ sourceClass: 'pool', reaches: () => false });
    expect(log).toEqual(['voucher-issued @1', 'settle parked @1']);
    expect(result).toMatchObject({ errorCode: 'contact-unusable' });
    const lost = await played({ sourceClass: 'pool', reaches: () => false, lostAt: 'voucher-issued' });
    expect(lost.run.outcome).toBe('lost');
    expect(lost.result).toBeNull();
  });

  it('calls nobody when the lease has ended while it slept', async () => {
    const clock = createManualClock();
    const calls: string[] = [];
    const source: VoucherSource = {
      name: 'acme',
      sourceClass: 'idempotent',
      longestFlightMs: 0,
      issue: async () => after(calls.push('issue'), issued),
      check: async () => [],
    };
    const providers = createProviders({ sources: [{ source }], messengers: [], clock, observe: () => {} });
    const saga = createSaga({
      deliveries: {
        claim: async () => after(clock.advance(60_001), base),
        progress: async () => true,
        settle: async () => true,
        attempts: async () => [],
      },
      vault: { transactionId: () => 'id' },
      sources: providers.sources,
      messengers: providers.messengers,
      pageUrl: () => '',
      clock,
      randomness: { bytes: (length) => new Uint8Array(length) },
      log: silentLog,
      observe: () => {},
      limits: { leaseMs: 60_000, backoff: { firstMs: 1, maxMs: 1 }, attemptsPerProvider: 3 },
    });
    expect((await saga.deliver('spring.3.2')).outcome).toBe('lost');
    expect(calls).toEqual([]);
  });
});

describe('a voucher whose request was not answered', () => {
  const unknown = { voucherState: 'unknown', voucherRequestedMsAgo: 100_000, fence: 2, attempts: 2 } as const;

  it('is recorded as unknown, never as failed', async () => {
    const { result } = await played({ issue: [timeout] });
    expect(result).toMatchObject({ result: 'voucher-unknown', errorCode: 'voucher.acme.timeout' });
  });

  it.each(['pool', 'idempotent'] as const)('%s: is asked again with the same id', async (sourceClass) => {
    const { calls, log } = await played({ sourceClass, claim: unknown });
    expect(calls[0]).toBe('issue spring|2|1');
    expect(log[0]).toBe(
      sourceClass === 'pool' ? 'voucher CODE-1 and message-sending @2' : 'voucher-issued @2',
    );
  });

  it('neither: waits for a person', async () => {
    const { calls, result } = await played({ sourceClass: 'neither', claim: unknown });
    expect(calls).toEqual([]);
    expect(result).toMatchObject({ result: 'parked', errorCode: 'voucher-unknown' });
  });

  it('stays unknown when a later request is refused: the refusal says nothing about the earlier one', async () => {
    const { result } = await played({ claim: unknown, issue: [refusedNow] });
    expect(result).toMatchObject({ result: 'voucher-unknown', errorCode: 'voucher.acme.http-429' });
  });

  it('queryable: waits out the longest flight before it asks what happened', async () => {
    const { calls, result } = await played({
      sourceClass: 'queryable',
      claim: { ...unknown, voucherRequestedMsAgo: 10_000 },
    });
    expect(calls).toEqual([]);
    expect(result).toMatchObject({ result: 'voucher-unknown', errorCode: 'voucher.acme.in-flight' });
    expect((result as { waitMs: number }).waitMs).toBeGreaterThanOrEqual(20_000);
  });

  it('queryable: takes what the query finds', async () => {
    const { calls } = await played({
      sourceClass: 'queryable',
      claim: unknown,
      query: { result: 'issued', voucher },
    });
    expect(calls).toEqual(['query spring|2|1', 'send first spring.3.2@doorbuster']);
  });

  it('queryable: "not found" is not trusted without a cancel, and the next request has a new id', async () => {
    const { calls, log } = await played({
      sourceClass: 'queryable',
      claim: unknown,
      query: { result: 'not-found' },
      cancel: { result: 'cancelled' },
    });
    expect(calls.slice(0, 3)).toEqual(['query spring|2|1', 'cancel spring|2|1', 'issue spring|2|2']);
    expect(log.slice(0, 3)).toEqual(['voucher-cancelled @2', 'voucher-requested @2', 'voucher-issued @2']);
  });

  it('queryable: a cancel that finds it issued after all takes it', async () => {
    const { calls } = await played({
      sourceClass: 'queryable',
      claim: unknown,
      query: { result: 'not-found' },
      cancel: { result: 'issued', voucher },
    });
    expect(calls).toEqual(['query spring|2|1', 'cancel spring|2|1', 'send first spring.3.2@doorbuster']);
  });

  it('queryable: a cancel without an answer leaves it unknown', async () => {
    const { calls, result } = await played({
      sourceClass: 'queryable',
      claim: unknown,
      query: { result: 'not-found' },
      cancel: { result: 'unknown', detail: '' },
    });
    expect(calls).toHaveLength(2);
    expect(result).toMatchObject({ result: 'voucher-unknown', errorCode: 'voucher.acme.cancel-unknown' });
  });

  it('is parked as unknown when the limit of attempts is reached', async () => {
    const earlier = { errorCode: 'voucher.acme.timeout' };
    const { result } = await played({
      claim: { ...unknown, attempts: 3 },
      issue: [timeout],
      attempts: [earlier, earlier],
    });
    expect(result).toMatchObject({ result: 'parked', errorCode: 'voucher-unknown' });
  });

  it('gives a fresh budget after an operator has asked for a retry', async () => {
    const earlier = { errorCode: 'voucher.acme.timeout' };
    const { result } = await played({
      claim: { ...unknown, attempts: 2 },
      issue: [timeout],
      attempts: [earlier, earlier, earlier, { fence: 2 }],
    });
    expect(result).toMatchObject({ result: 'voucher-unknown' });
  });

  it('does not count the waits for an open breaker against the limit', async () => {
    const earlier = { errorCode: 'voucher.acme.paused' };
    const { result } = await played({
      claim: { ...unknown, attempts: 9 },
      issue: [timeout],
      attempts: Array(8).fill(earlier),
    });
    expect(result).toMatchObject({ result: 'voucher-unknown' });
  });

  it('counts a call that outlives its time limit as unknown', async () => {
    const game = play({ issue: [timeout], hang: true });
    while (game.calls.length === 0) await Promise.resolve();
    game.clock.advance(10_000);
    await game.run;
    expect(game.result()).toMatchObject({ result: 'voucher-unknown' });
  });
});

describe('a voucher that is refused', () => {
  it('is asked for again later, with backoff', async () => {
    const { result } = await played({ issue: [refusedNow] });
    expect(result).toEqual({
      result: 'retry',
      waitMs: 500,
      errorCode: 'voucher.acme.http-429',
      error: 'slow down',
    });
  });
  it('waits at least as long as the provider asks', async () => {
    const { result } = await played({ issue: [{ ...refusedNow, retryAfterMs: 20_000 }] });
    expect((result as { waitMs: number }).waitMs).toBeGreaterThanOrEqual(20_000);
  });
  it('for good is parked at once', async () => {
    const { result } = await played({ issue: [refusedForGood] });
    expect(result).toMatchObject({ result: 'parked', errorCode: 'voucher.acme.http-422' });
  });
  it('parks a campaign whose source this process does not know', async () => {
    const { result } = await played({
      claim: { definition: { ...definition, reward: { voucherSource: 'nobody', messengers: ['first'] } } },
    });
    expect(result).toMatchObject({ result: 'parked', errorCode: 'source-missing' });
  });
});

describe('a message', () => {
  const ready = { voucher, voucherState: 'issued' } as const;

  it('without an answer is unknown, not failed', async () => {
    const { result } = await played({ claim: ready, send: [timeout] });
    expect(result).toMatchObject({ result: 'message-unknown', errorCode: 'message.first.timeout' });
  });
  it('is sent once more after an unknown sending, with the same message id', async () => {
    const { calls, result } = await played({
      claim: { ...ready, messageState: 'unknown', unknownSendings: 1, fence: 2 },
    });
    expect(calls).toEqual(['send first spring.3.2@doorbuster']);
    expect(result).toMatchObject({ result: 'delivered' });
  });
  it('is parked after the second unknown sending, as unknown', async () => {
    const { result } = await played({
      claim: { ...ready, messageState: 'unknown', unknownSendings: 1 },
      send: [timeout],
    });
    expect(result).toMatchObject({ result: 'parked', errorCode: 'message-unknown' });
  });
  it('is never sent a third time, even when the second sending died with its worker', async () => {
    const { calls, result } = await played({
      claim: { ...ready, messageState: 'unknown', unknownSendings: 2 },
    });
    expect(calls).toEqual([]);
    expect(result).toMatchObject({ result: 'parked', errorCode: 'message-unknown' });
  });
  it.each<[string, Partial<ClaimedDelivery>, SendResult]>([
    ['by the next messenger', {}, refusedForGood],
    ['parked', { messengerIndex: 1 }, refusedForGood],
    ['later', {}, refusedNow],
    ['unknown', {}, timeout],
  ])('keeps nothing of the member in the error: %s', async (_, claim, answer) => {
    const detail = `550 <A@Example.com> a@example.com +821012345678: no such person${'.'.repeat(600)}`;
    const { result } = await played({
      claim: { ...ready, ...claim, contact: { email: 'a@example.com', phone: '+821012345678' } },
      send: [{ ...answer, detail } as SendResult],
    });
    const { error } = result as unknown as { error: string };
    expect(error).toMatch(/^550 <\[address\]> \[member\] \[member\]: no such person/);
    expect(error).toHaveLength(500);
  });

  it('refused for good falls to the next messenger at once', async () => {
    const { result } = await played({ claim: ready, send: [refusedForGood] });
    expect(result).toMatchObject({ result: 'retry', waitMs: 0, messengerIndex: 1 });
  });
  it('control: a messenger that takes silence for a refusal hides that the mail may be there', async () => {
    const unknownIs = (result: unknown) => expect(result).toMatchObject({ result: 'message-unknown' });
    unknownIs((await played({ claim: ready, send: [timeout] })).result);
    const hidden = (await played({ claim: ready, send: [{ ...refusedNow, errorCode: 'timeout' }] })).result;
    expect(() => unknownIs(hidden)).toThrow('message-unknown');
  });
  it('refused for now is retried with the same messenger', async () => {
    const { result } = await played({ claim: ready, send: [refusedNow] });
    expect(result).toMatchObject({ result: 'retry', waitMs: 500 });
    expect(result).not.toHaveProperty('messengerIndex');
  });
  it('refused too often falls to the next messenger', async () => {
    const earlier = { errorCode: 'message.first.smtp-451' };
    const { result } = await played({
      claim: { ...ready, attempts: 3 },
      send: [refusedNow],
      attempts: [earlier, earlier],
    });
    expect(result).toMatchObject({ result: 'retry', messengerIndex: 1 });
  });
  it('refused by the last messenger is parked with its code', async () => {
    const { result } = await played({ claim: { ...ready, messengerIndex: 1 }, send: [refusedForGood] });
    expect(result).toMatchObject({ result: 'parked', errorCode: 'message.second.http-422' });
  });
  it('passes over a messenger that cannot reach the contact', async () => {
    const { calls } = await played({ claim: ready, reaches: (name) => name === 'second' });
    expect(calls).toEqual(['send second spring.3.2@doorbuster']);
  });
  it('without a contact is parked, with the voucher issued for the result page', async () => {
    const { log, result } = await played({ claim: { contact: null }, reaches: () => false });
    expect(log).toContain('voucher-issued @1');
    expect(result).toMatchObject({ result: 'parked', errorCode: 'contact-missing' });
  });
});

describe('a ledger that is busy', () => {
  it('gets the same record again while the lease lasts', async () => {
    const clock = createManualClock(1_000_000);
    let refusals = 2;
    const providers = createProviders({ sources: [], messengers: [], clock, observe: () => {} });
    const saga = createSaga({
      deliveries: {
        claim: async () => base,
        progress: async () => true,
        attempts: async () => [],
        settle: async () => {
          if (refusals-- > 0) throw new OperationalError('LEDGER_BUSY');
          return true;
        },
      },
      vault: { transactionId: () => 'id' },
      sources: providers.sources,
      messengers: providers.messengers,
      pageUrl: () => '',
      clock,
      randomness: { bytes: (length) => new Uint8Array(length) },
      log: silentLog,
      observe: () => {},
      limits: { leaseMs: 60_000, backoff: { firstMs: 1, maxMs: 1 }, attemptsPerProvider: 3 },
    });
    const run = saga.deliver('spring.3.2');
    for (let turn = 0; turn < 50; turn += 1) {
      await Promise.resolve();
      clock.advance(100);
    }
    expect((await run).outcome).toBe('settled');
  });
});
