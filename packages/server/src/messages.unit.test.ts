/** Doorbells: nothing rung for is missing from the messages or told twice, and a message stays small. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deliveriesOf, deliveryRequested, doorbellsFor } from './messages.ts';

const rungFor = fc.array(
  fc.record({
    campaignId: fc.constantFrom('spring', 'a.b', 'winter'),
    seq: fc.integer({ min: 1, max: 40 }),
    unit: fc.integer({ min: 1, max: 40 }),
  }),
  { maxLength: 60 },
);
const idsOf = (rung: readonly { campaignId: string; seq: number; unit: number }[]) =>
  rung.map(({ campaignId, seq, unit }) => `${campaignId}.${seq}.${unit}`);

describe('doorbells', () => {
  it('tell of a whole batch in one run when everybody wins', () => {
    const rung = Array.from({ length: 500 }, (_, i) => ({
      campaignId: 'spring',
      seq: 1_001 + i,
      unit: 901 + i,
    }));
    expect(doorbellsFor(rung)).toEqual([{ campaignId: 'spring', runs: [[1_001, 901, 500]] }]);
  });

  it('tell of exactly what was rung for, in order, one campaign a message', () => {
    fc.assert(
      fc.property(rungFor, (rung) => {
        const messages = doorbellsFor(rung);
        for (const campaignId of ['spring', 'a.b', 'winter']) {
          const told = messages.filter((message) => message.campaignId === campaignId).flatMap(deliveriesOf);
          expect(told).toEqual(idsOf(rung.filter((one) => one.campaignId === campaignId)));
        }
      }),
    );
  });

  it('are split at 512 deliveries, and the contract holds for each', async () => {
    const rung = Array.from({ length: 1_100 }, (_, i) => ({
      campaignId: 'spring',
      seq: i + 1,
      unit: 2_200 - i,
    }));
    const messages = doorbellsFor(rung);
    expect(messages.map((message) => deliveriesOf(message).length)).toEqual([512, 512, 76]);
    expect(messages.flatMap(deliveriesOf)).toEqual(idsOf(rung));
    for (const message of messages) expect(await deliveryRequested.check(message)).toBeUndefined();
    const tooMany = { campaignId: 'spring', runs: Array.from({ length: 513 }, () => [1, 1, 1] as const) };
    expect(await deliveryRequested.check(tooMany)).toContain('512');
    expect(await deliveryRequested.check({ campaignId: 'spring', runs: [[1, 1, 513]] })).toContain('512');
  });
});
