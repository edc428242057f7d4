/** A batch that was committed and whose answers were then lost on the way: nobody of it may be refused from memory. */
import { createManualClock } from '@doorbuster/messaging/conformance';
import { expect, it } from 'vitest';
import type { AdmissionLedger } from '../ledger.ts';
import { master, members, publish, signingKeys } from '../ledger-fixture.ts';
import { openInProcessLedger } from '../ledgers/sqlite/in-process.ts';
import { systemRandomness } from '../randomness.ts';
import { DirectIntake } from './direct.ts';
import { Gate } from './gate.ts';

it('asks the ledger for who was in it; control: who was not is refused from memory', async () => {
  const clock = createManualClock();
  const ledger = openInProcessLedger({
    master,
    signingKeys: signingKeys(),
    clock,
    randomness: systemRandomness(),
  });
  await publish(ledger, 'c', { capacity: 1 });
  const loses: AdmissionLedger = {
    ...ledger.admission,
    async admit(...args) {
      await ledger.admission.admit(...args);
      throw new Error('a stored receipt cannot be opened');
    },
  };
  const lane = (await ledger.campaigns.get('c'))!.lane!;
  const gate = new Gate('c', lane, loses, clock);
  await gate.load();
  ledger.campaigns.onLane((moved) => gate.moved(moved));
  const direct = new DirectIntake({
    gate,
    ledger: loses,
    clock,
    limit: 10,
    defer: setImmediate,
    onAnswers: () => {},
  });
  const [winner, stranger] = members(2);
  await expect(
    new Promise((resolve, reject) => direct.submit(winner!, { answered: resolve, failed: reject })),
  ).rejects.toThrow('a stored receipt cannot be opened');
  await expect.poll(() => direct.refusal(stranger!.memberKey)?.decision.verdict).toBe('sold-out');
  expect(direct.refusal(winner!.memberKey)).toBeNull();
  await ledger.close();
});
