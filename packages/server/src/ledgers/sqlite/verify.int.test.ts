/** `verify` against tampering: one planted change per table and kind, each found. The control is the untouched ledger, which is clean. */
import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import { publicKeySet, verifierOf } from '../../audit/keys.ts';
import { entryOfMember, master, members, operator, publish, signingKeys } from '../../ledger-fixture.ts';
import { systemRandomness } from '../../randomness.ts';
import { Vault } from '../../vault.ts';
import { openInProcessLedger } from './in-process.ts';
import { verifyLedger } from './verify.ts';

async function ledgerWithEverything() {
  const keys = signingKeys();
  const clock = createManualClock();
  const randomness = systemRandomness();
  const ledger = openInProcessLedger({ master, signingKeys: keys, clock, randomness, shortestRun: 4 });
  await publish(ledger, 'c', { capacity: 6, safetyStock: 1, waitlistLimit: 3 });
  await ledger.admission.admit('c', [...members(6), entryOfMember('ann', { q: 'yes' })]);
  await ledger.campaigns.command('c', { type: 'revoke', seq: 2 }, operator);
  await ledger.campaigns.command('c', { type: 'replace', seq: 1 }, operator);
  for (const id of ['c.3.3', 'c.4.4']) {
    const claim = await ledger.deliveries.claim(id, 1000);
    await ledger.deliveries.progress(id, claim!.fence, {
      step: 'voucher-issued',
      voucher: { code: `V-${id}` },
    });
    await ledger.deliveries.progress(id, claim!.fence, { step: 'message-sending', messenger: 'file' });
    await ledger.deliveries.settle(id, claim!.fence, { result: 'delivered', messenger: 'file' });
  }
  await ledger.campaigns.tick();
  const check = () =>
    verifyLedger(ledger.db, { verifySignature: verifierOf(publicKeySet(keys)), vault: new Vault(master) });
  return { ledger, db: ledger.db, check };
}

const tampers: readonly (readonly [what: string, change: string, invariant: string])[] = [
  ['a counter that still adds up', 'UPDATE lanes SET issued = issued - 1, free = free + 1', 'I6'],
  ['a higher seq', 'UPDATE lanes SET seq = seq + 1', 'I4'],
  ['another head', 'UPDATE lanes SET head = zeroblob(32)', 'I4'],
  ['a waiting count', 'UPDATE lanes SET waiting = waiting + 1', 'I4'],
  ['another member on an entry', 'UPDATE entries SET member_key = randomblob(16) WHERE seq = 3', 'I2'],
  ['another status', "UPDATE entries SET status = 'revoked', current_unit = NULL WHERE seq = 3", 'I2'],
  ['a salt lost', 'UPDATE entries SET salt = NULL WHERE seq = 3', 'I2'],
  ['answers swapped', 'UPDATE entries SET answers = zeroblob(40) WHERE answers IS NOT NULL', 'I2'],
  ['answers lost', 'UPDATE entries SET answers = NULL WHERE answers IS NOT NULL', 'I2'],
  ['a unit of another entry', "UPDATE units SET state = 'void' WHERE unit = 3", 'I1'],
  ['a void unit freed', "UPDATE units SET state = 'free', voucher_shown = 0 WHERE state = 'void'", 'I1'],
  [
    'a delivery cancelled under its holder',
    "UPDATE deliveries SET state = 'cancelled', wake_at = NULL WHERE seq = 5",
    'I8',
  ],
  [
    'a cancelled delivery revived',
    "UPDATE deliveries SET state = 'due', wake_at = 1 WHERE state = 'cancelled'",
    'I3',
  ],
  [
    'a delivery of nobody',
    "INSERT INTO deliveries (campaign, lane, seq, unit, state, wake_at, created_at) VALUES (1, 0, 77, 3, 'due', 1, 1)",
    'I3',
  ],
  ['a voucher no longer marked as shown', 'UPDATE units SET voucher_shown = 0 WHERE unit = 3', 'I3'],
  [
    'one voucher given twice',
    'UPDATE units SET (voucher, voucher_salt) = (SELECT voucher, voucher_salt FROM units WHERE unit = 3) WHERE unit = 4',
    'I3',
  ],
  [
    'a record rewritten',
    `DROP TRIGGER batches_stay; UPDATE batches SET records = replace(records, '"seq":3', '"seq":8') WHERE batch_no = 2`,
    'I4',
  ],
  ['a batch removed', 'DROP TRIGGER batches_remain; DELETE FROM batches WHERE batch_no = 3', 'I4'],
  [
    'a signature exchanged',
    'DROP TRIGGER signatures_stay; UPDATE batch_signatures SET signature = zeroblob(64) WHERE batch_no = 2',
    'I2',
  ],
  [
    'a signature removed',
    'DROP TRIGGER signatures_remain; DELETE FROM batch_signatures WHERE batch_no = 2',
    'I2',
  ],
  [
    'another time of an entry',
    'DROP TRIGGER entries_keep_the_first_answer; UPDATE entries SET at = at + 60000 WHERE seq = 3',
    'I2',
  ],
  [
    'another capacity in the definition',
    "UPDATE campaigns SET definition = json_set(definition, '$.stock.capacity', 99)",
    'I4',
  ],
  [
    'another opening in the definition',
    "UPDATE campaigns SET definition = json_set(definition, '$.startsAt', '2030-01-01T00:00:00Z')",
    'I4',
  ],
  [
    'words of the definition changed without a trace',
    "UPDATE campaigns SET definition = json_set(definition, '$.title.en', 'Something else')",
    'I4',
  ],
  ['another time of publication', 'UPDATE campaigns SET published_at = published_at + 5', 'I4'],
  [
    'a delivered voucher that no messenger took',
    "UPDATE deliveries SET message_state = 'none' WHERE state = 'delivered'",
    'I8',
  ],
  [
    'a delivered voucher that is not there',
    "UPDATE units SET voucher = NULL, voucher_salt = NULL, voucher_state = 'none' WHERE unit = 3",
    'I3',
  ],
  ['attempts that were never made', 'UPDATE deliveries SET attempts = 50 WHERE seq = 3', 'I8'],
  ['a cancelled delivery removed', "DELETE FROM deliveries WHERE state = 'cancelled'", 'I8'],
  [
    'an entry of no campaign',
    'INSERT INTO entries SELECT 77, lane, seq, record_no, member_key, verdict, unit, status, current_unit, at, salt, answers, erased FROM entries WHERE seq = 3',
    'file',
  ],
  [
    'a batch of another lane',
    'INSERT INTO batches SELECT campaign, 1, batch_no, epoch, first_record_no, count, prev_head, root, head, time, kid, records FROM batches WHERE batch_no = 1',
    'file',
  ],
  [
    'a signature of no batch',
    'INSERT INTO batch_signatures SELECT campaign, lane, 99, signature FROM batch_signatures WHERE batch_no = 1',
    'file',
  ],
  [
    'an attempt of no delivery',
    'INSERT INTO delivery_attempts (campaign, lane, seq, unit, fence, started_at) VALUES (1, 0, 88, 88, 1, 1)',
    'file',
  ],
  [
    'an audit record removed',
    'DROP TRIGGER audit_remains; DELETE FROM audit_records WHERE audit_no = 2',
    'file',
  ],
  [
    'a second entry of a member',
    'INSERT INTO entries SELECT campaign, lane, 99, 99, member_key, verdict, unit, status, current_unit, at, salt, answers, erased FROM entries WHERE seq = 3',
    'I3',
  ],
  ['a member missing in the index', 'DELETE FROM entry_keys WHERE seq = 3', 'I3'],
  ['a member of another entry in the index', 'UPDATE entry_keys SET seq = 88 WHERE seq = 3', 'I3'],
  ['a stranger in the index', 'INSERT INTO entry_keys VALUES (1, randomblob(16), 0, 3)', 'I3'],
  ['keys said to be in the index', 'UPDATE key_runs SET sealed_seq = 9, run_seq = 9', 'I4'],
  ['an index key of no campaign', 'INSERT INTO entry_keys VALUES (77, randomblob(16), 0, 3)', 'file'],
  ['an entry removed', 'DROP TRIGGER entries_remain; DELETE FROM entries WHERE seq = 7', 'I4'],
];

describe('verify', () => {
  it('is clean on a ledger with everything in it', async () => {
    const { check } = await ledgerWithEverything();
    expect(check()).toMatchObject({ ok: true, campaigns: 1, entries: 7, violations: [] });
  });

  it.each(tampers)('finds %s', async (_, change, invariant) => {
    const { db, check } = await ledgerWithEverything();
    db.exec(change);
    expect(check().violations.map((v) => v.invariant)).toContain(invariant);
  });

  const refused: readonly (readonly [string, string])[] = [
    ['counters that do not add up', 'UPDATE lanes SET issued = issued + 1'],
    ['a lane going back', 'UPDATE lanes SET seq = seq - 1'],
    [
      'a second key of a member in the index',
      'INSERT INTO entry_keys SELECT campaign, member_key, lane, 99 FROM entry_keys WHERE seq = 3',
    ],
    ['a run of keys going back', 'UPDATE key_runs SET sealed_seq = sealed_seq - 1'],
    [
      'a unit above the capacity',
      "INSERT INTO units (campaign, unit, lane, state, seq) VALUES (1, 99, 0, 'issued', 7)",
    ],
    [
      'a second unit in one hand',
      "INSERT INTO units (campaign, unit, lane, state, seq) VALUES (1, 6, 0, 'issued', 3)",
    ],
    ['another first verdict', "UPDATE entries SET verdict = 'waitlisted', unit = NULL WHERE seq = 3"],
    ['a rewritten batch', "UPDATE batches SET records = ''"],
    ['a deleted audit record', 'DELETE FROM audit_records'],
    ['a deleted entry', 'DELETE FROM entries'],
  ];
  it.each(refused)('the tables cannot store %s', async (_, change) => {
    const { db, check } = await ledgerWithEverything();
    expect(() => db.exec(change)).toThrow(
      /constraint|never goes back|the first answer|evidence|for ever|above the capacity/,
    );
    expect(check().ok).toBe(true);
  });
});
