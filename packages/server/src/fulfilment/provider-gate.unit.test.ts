import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import { createProviderGate, type ProviderLimits } from './provider-gate.ts';

const failed = { result: 'unknown' };
function gateWith(limits: ProviderLimits) {
  const clock = createManualClock();
  const states: string[] = [];
  const gate = createProviderGate({
    name: 'acme',
    clock,
    limits,
    isTrouble: (value) => value === failed,
    onBreaker: (state) => states.push(state),
  });
  return { clock, gate, states };
}
const turns = async (count = 20) => {
  for (let turn = 0; turn < count; turn += 1) await Promise.resolve();
};

describe('a gate', () => {
  it('hands on what the call gives', async () => {
    const { gate } = gateWith({});
    expect(await gate.enter((call) => call(async () => 7))).toEqual({ kind: 'done', value: 7 });
  });
  it('opens its breaker on trouble, then pauses without calling, then lets one probe through', async () => {
    const { gate, clock, states } = gateWith({ breakerMinimumCalls: 4, breakerOpenMs: 1_000 });
    for (let count = 0; count < 4; count += 1) await gate.enter((call) => call(async () => failed));
    let called = false;
    const paused = await gate.enter(async () => (called = true));
    expect(paused).toMatchObject({ kind: 'paused', retryAfterMs: 1_000 });
    expect(called).toBe(false);
    clock.advance(1_000);
    expect(await gate.enter((call) => call(async () => 'fine'))).toEqual({ kind: 'done', value: 'fine' });
    expect(states).toEqual(['open', 'half-open', 'closed']);
  });
  it('aborts a call after its time and gives up on an adapter that does not listen', async () => {
    const { gate, clock } = gateWith({ timeoutMs: 500 });
    let aborted = false;
    const entered = gate.enter((call) =>
      call(
        (signal) =>
          new Promise((resolve) => {
            signal.addEventListener('abort', () => {
              aborted = true;
              void resolve;
            });
          }),
      ),
    );
    await turns();
    clock.advance(500);
    expect(aborted).toBe(true);
    clock.advance(1_000);
    expect(await entered).toMatchObject({ kind: 'hung' });
  });
  it('spaces calls by the rate and pauses those that would wait too long', async () => {
    const { gate, clock } = gateWith({ ratePerSecond: 1 });
    const results = Array.from({ length: 8 }, () => gate.enter((call) => call(async () => 'called')));
    for (let second = 0; second < 8; second += 1) {
      await turns();
      clock.advance(1_000);
    }
    const kinds = (await Promise.all(results)).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'done')).toHaveLength(6);
    expect(kinds.filter((kind) => kind === 'paused')).toHaveLength(2);
  });
  it('is silent as long as the provider asked', async () => {
    const { gate, clock } = gateWith({});
    gate.backOff(3_000);
    const started = clock.monotonic();
    const entered = gate.enter(async () => clock.monotonic() - started);
    await turns();
    clock.advance(3_000);
    expect(await entered).toMatchObject({ kind: 'done', value: 3_000 });
  });
  it('runs no more calls at once than its bulkhead has places', async () => {
    const { gate } = gateWith({ concurrency: 2 });
    let most = 0;
    let now = 0;
    const all = Array.from({ length: 8 }, () =>
      gate.enter((call) =>
        call(async () => {
          most = Math.max(most, (now += 1));
          await turns(3);
          now -= 1;
        }),
      ),
    );
    await Promise.all(all);
    expect(most).toBe(2);
  });
});
