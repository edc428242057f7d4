/** The offline checks of an exported chain and of a receipt, on a real ledger's output; every planted change is found, with its line. */
import { Readable } from 'node:stream';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { expect, it } from 'vitest';
import { master, members, operator, publish, signingKeys } from '../ledger-fixture.ts';
import { openInProcessLedger } from '../ledgers/sqlite/in-process.ts';
import { systemRandomness } from '../randomness.ts';
import { publicKeySet, verifierOf } from './keys.ts';
import { verifyExport, verifyReceiptText } from './verify-export.ts';

async function exported() {
  const keys = signingKeys();
  const ledger = openInProcessLedger({
    master,
    signingKeys: keys,
    clock: createManualClock(),
    randomness: systemRandomness(),
  });
  await publish(ledger, 'c', { capacity: 3, waitlistLimit: 1 });
  const [answer] = await ledger.admission.admit('c', members(5));
  await ledger.campaigns.command('c', { type: 'revoke', seq: 1 }, operator);
  await ledger.campaigns.command('c', { type: 'close' }, operator);
  await ledger.campaigns.tick();
  const lines: string[] = [];
  for await (const batch of ledger.evidence.records('c', 1)) {
    const { epoch, prevHead, root, firstRecordNo, count, time, head, kid, signature, records } = batch;
    const batchHead = { campaign: 'c', lane: 0, epoch, prevHead, root, firstRecordNo, count, time, head };
    lines.push(JSON.stringify({ head: batchHead, records, kid, signature }));
  }
  const root = (await ledger.evidence.closingRoot('c'))?.root;
  return { lines, root, receipt: answer?.receipt ?? '', verifySignature: verifierOf(publicKeySet(keys)) };
}

const check = (lines: readonly string[], verifySignature: ReturnType<typeof verifierOf>) =>
  verifyExport(Readable.from(`${lines.join('\r\n')}\n`), verifySignature);

it('verifies a whole export and gives the root that was published', async () => {
  const { lines, root, verifySignature } = await exported();
  const expected = { ok: true, campaign: 'c', batches: 4, entries: 4, recordsRoot: root };
  expect(await check(lines, verifySignature)).toMatchObject(expected);
});

it('finds a changed record, a missing batch, a foreign key, a cut beginning, and what is no batch', async () => {
  const { lines, verifySignature } = await exported();
  const other = verifierOf(publicKeySet(signingKeys()));
  const changed = lines.map((line) => line.replace('\\"seq\\":2', '\\"seq\\":9'));
  expect(changed).not.toEqual(lines);
  expect(await check(changed, verifySignature)).toMatchObject({ ok: false, line: 2 });
  expect(await check(lines.toSpliced(2, 1), verifySignature)).toMatchObject({ ok: false, line: 3 });
  expect(await check(lines, other)).toMatchObject({ ok: false, line: 1 });
  expect(await check(lines.slice(1), verifySignature)).toMatchObject({ ok: false, line: 1 });
  expect(await check(['[]'], verifySignature)).toMatchObject({ ok: false, line: 1 });
  expect(await check([...lines, 'x'], verifySignature)).toMatchObject({ ok: false, line: 5 });
  expect(await check([], verifySignature)).toMatchObject({ ok: false });
});

it('verifies a receipt alone and as an answer of the API carries it', async () => {
  const { receipt, verifySignature } = await exported();
  expect(verifyReceiptText(receipt, verifySignature)).toMatchObject({ ok: true, record: { seq: 1 } });
  const answer = JSON.stringify({ verdict: 'won', receipt: JSON.parse(receipt) });
  expect(verifyReceiptText(answer, verifySignature)).toMatchObject({ ok: true });
  expect(verifyReceiptText(receipt.replace('won', 'waitlisted'), verifySignature)).toMatchObject({
    ok: false,
  });
  expect(verifyReceiptText('nothing', verifySignature)).toEqual({ ok: false, reason: 'malformed' });
});
