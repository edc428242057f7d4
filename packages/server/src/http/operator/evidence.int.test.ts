/** Imports, entries, deliveries, members, records and audit, on one campaign that has run. */
import { createHash } from 'node:crypto';
import { createChainVerifier } from '@doorbuster/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { publicKeySet, verifierOf } from '../../audit/keys.ts';
import { type OperatorRig, openOperatorRig } from './testing/operator-rig.ts';

let rig: OperatorRig;
const at = '/v1/campaigns/run';
beforeAll(async () => {
  rig = await openOperatorRig();
  await rig.open('run', { stock: { capacity: 3, waitlistLimit: 2, closeWhenSoldOut: false } });
  await rig.enter('run', 'm1', 'm2', 'm3', 'm4');
  await rig.open('other');
  await rig.enter('other', 'm1');
});
afterAll(() => rig.close());

test('entries: pages, filters, shape', async () => {
  const first = await rig.ask('GET', `${at}/entries?limit=3`);
  expect(first.json.items.map((entry: { seq: number }) => entry.seq)).toEqual([1, 2, 3]);
  const rest = await rig.ask('GET', `${at}/entries?limit=3&after=${encodeURIComponent(first.json.next)}`);
  expect(rest.json).toMatchObject({ items: [{ seq: 4, verdict: 'waitlisted', unit: null }], next: null });
  expect((await rig.ask('GET', `${at}/entries?verdict=waitlisted`)).json.items).toHaveLength(1);
  expect((await rig.ask('GET', `${at}/entries?verdict=maybe`)).status).toBe(400);
});

test('the export is what Excel needs, and is noted', async () => {
  const told = await rig.ask('GET', `${at}/entries/export`);
  expect(told.headers).toMatchObject({
    'content-type': 'text/csv; charset=utf-8; header=present',
    'content-disposition': 'attachment; filename="run-entries.csv"',
  });
  const lines = told.text.split('\r\n');
  expect(lines[0]).toBe('\ufeffseq,recordNo,verdict,status,unit,recordedAt,colour,taste,why');
  expect(lines[1]).toMatch(/^1,\d+,won,live,1,2026-12-01T00:10:00.000Z,red,4,'=cmd\(\)$/);
  expect(lines).toHaveLength(6);
  const accepted = await rig.ask('GET', `${at}/entries?verdict=waitlisted`, {
    headers: { accept: 'text/csv' },
  });
  expect(accepted.text.split('\r\n')).toHaveLength(3);
  const audit = await rig.ask('GET', `${at}/audit-records?limit=5`);
  expect(audit.json.items.some((record: { action: string }) => record.action === 'entries.exported')).toBe(
    true,
  );
});

test('survey results: counts, cross-table, CSV', async () => {
  const told = await rig.ask('GET', `${at}/survey-results?cross=colour,taste`);
  expect(told.json).toMatchObject({
    entries: 4,
    questions: [
      {
        question: 'colour',
        answered: 4,
        choices: [
          { choice: 'red', count: 2, share: 0.5 },
          { choice: 'blue', count: 2 },
        ],
      },
      { question: 'taste', summary: { mean: 4, min: 4, max: 4 } },
      { question: 'why', type: 'text', answered: 4 },
    ],
    cross: { rows: ['red', 'blue'], answered: 4 },
  });
  expect(told.json.cross.counts[0]).toEqual([0, 0, 0, 2, 0]);
  const csv = await rig.ask('GET', `${at}/survey-results`, { headers: { accept: 'text/csv' } });
  expect(csv.text.split('\r\n')[1]).toBe('colour,single,4,red,2,0.5,,,');
  const crossed = await rig.ask('GET', `${at}/survey-results?cross=colour,taste`, {
    headers: { accept: 'text/csv' },
  });
  expect(crossed.text.split('\r\n')[1]).toBe('red,0,0,0,2,0');
  for (const cross of ['colour,why', 'colour,colour', 'colour,nope']) {
    expect((await rig.ask('GET', `${at}/survey-results?cross=${cross}`)).json, cross).toMatchObject({
      status: 400,
      reason: 'cross-unknown',
    });
  }
});

test('the records verify as a stranger would verify them', async () => {
  const told = await rig.ask('GET', `${at}/records`);
  expect(told.headers['content-type']).toBe('application/x-ndjson; charset=utf-8');
  const batches = told.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
  const verified = (lines: typeof batches) => {
    const verifier = createChainVerifier(sha256, verifierOf(publicKeySet(rig.signingKeys)));
    const faults = lines.map((batch) => verifier.add(batch)).filter((check) => !check.ok);
    return { faults, recordNo: verifier.recordNo };
  };
  const lane = (await rig.ask('GET', at)).json.lane;
  expect(verified(batches)).toEqual({ faults: [], recordNo: lane.records });
  // Control: one character of one record changed.
  const forged = structuredClone(batches);
  forged[1].records[0] = forged[1].records[0].replace('"at":1', '"at":2');
  expect(verified(forged).faults).not.toEqual([]);

  const later = await rig.ask('GET', `${at}/records?from=${lane.records}&limit=1`);
  expect(later.text.trim().split('\n')).toHaveLength(1);
  expect((await rig.ask('GET', `${at}/records?from=0`)).status).toBe(400);
});

test('deliveries: list, filter, one with its attempts, summary', async () => {
  const list = await rig.ask('GET', `${at}/deliveries`);
  expect(list.json.items).toHaveLength(3);
  expect((await rig.ask('GET', `${at}/deliveries?state=parked`)).json.items).toEqual([]);
  const { deliveryId } = list.json.items[0];
  expect((await rig.ask('GET', `${at}/deliveries/${deliveryId}`)).json).toMatchObject({
    deliveryId,
    state: 'due',
    history: [],
  });
  expect((await rig.ask('GET', `${at}/delivery-summary`)).json.byState).toMatchObject({
    due: 3,
    delivered: 0,
  });
  expect((await rig.ask('GET', `${at}/deliveries/run.99.99`)).json.reason).toBe('unknown-id');
  expect((await rig.ask('GET', `/v1/campaigns/other/deliveries/${deliveryId}`)).json.reason).toBe(
    'unknown-id',
  );
});

async function park(deliveryId: string, errorCode: string): Promise<void> {
  const claimed = await rig.ledger.deliveries.claim(deliveryId, 60_000);
  await rig.ledger.deliveries.settle(deliveryId, claimed!.fence, {
    result: 'parked',
    errorCode,
    error: 'refused',
  });
}

test('retry by filter: preview, batch, progress, abort, and only in its campaign', async () => {
  const [one, two] = (await rig.ask('GET', `${at}/deliveries`)).json.items;
  await park(one.deliveryId, 'smtp-550');
  await park(two.deliveryId, 'smtp-451');
  expect((await rig.ask('GET', `${at}/deliveries/${one.deliveryId}`)).json).toMatchObject({
    state: 'parked',
    errorCode: 'smtp-550',
    history: [{ attempt: 1 }],
  });
  const preview = (body: object) =>
    rig.ask('POST', `${at}/delivery-batches`, { body: { ...body, dryRun: true } });
  expect((await preview({})).json).toEqual({ dryRun: true, total: 2 });
  expect((await preview({ filter: { errorCode: 'smtp-550' } })).json.total).toBe(1);
  expect((await preview({ filter: { state: 'due' } })).json.total).toBe(0);

  const started = await rig.ask('POST', `${at}/delivery-batches`, {
    body: { filter: { errorCode: 'smtp-550' } },
  });
  expect(started).toMatchObject({ status: 202, json: { total: 1, state: 'running' } });
  const where = String(started.headers['location']);
  while ((await rig.ledger.deliveries.runBatches(100)) > 0);
  expect((await rig.ask('GET', where)).json).toMatchObject({ state: 'done', moved: 1 });
  expect((await rig.ask('GET', `${at}/deliveries/${one.deliveryId}`)).json.state).toBe('due');
  expect((await rig.ask('GET', where.replace('/run/', '/other/'))).status).toBe(404);
  expect((await rig.ask('DELETE', where.replace('/run/', '/other/'))).status).toBe(404);

  const second = await rig.ask('POST', `${at}/delivery-batches`, { body: {} });
  expect((await rig.ask('DELETE', String(second.headers['location']))).json.state).toBe('aborted');
  expect((await rig.ask('GET', `${at}/deliveries/${two.deliveryId}`)).json.state).toBe('parked');
  expect(
    (await rig.ask('POST', `${at}/delivery-batches`, { body: { filter: { everything: true } } })).status,
  ).toBe(400);
});

test('revoke frees the unit for the waitlist, replace needs a unit', async () => {
  expect((await rig.ask('POST', `${at}/replacements`, { body: { seq: 1 } })).json).toMatchObject({
    status: 409,
    rejection: { code: 'no-free-unit' },
  });
  expect((await rig.ask('POST', `${at}/revocations`, { body: { seq: 3 } })).json.lane).toMatchObject({
    issued: 3,
    waiting: 0,
  });
  expect((await rig.ask('GET', `${at}/entries?status=promoted`)).json.items).toMatchObject([{ seq: 4 }]);
  expect((await rig.ask('POST', `${at}/revocations`, { body: { seq: 3 } })).status).toBe(409);
  expect((await rig.ask('POST', `${at}/revocations`, { body: { seq: 99 } })).status).toBe(404);
  expect((await rig.ask('POST', `${at}/revocations`, { body: { seq: 0 } })).status).toBe(400);
  expect((await rig.ask('POST', `${at}/revocations`, { body: { seq: '1' } })).status).toBe(400);
});

test('a member is named by text: half a character or a null byte is refused, and nobody is meant by it', async () => {
  for (const path of ['member-look-ups', 'bans', 'erasures'])
    for (const memberId of ['m1\ud800', 'm1\0'])
      expect((await rig.ask('POST', `${at}/${path}`, { body: { memberId } })).json).toMatchObject({
        status: 400,
        faults: [{ pointer: '/body/memberId', message: 'has characters that are not text' }],
      });
});

test('one member: look-up, ban, erasure', async () => {
  const look = (memberId: string) => rig.ask('POST', `${at}/member-look-ups`, { body: { memberId } });
  expect((await look('m2')).json).toMatchObject({
    seq: 2,
    verdict: 'won',
    status: 'live',
    deliveryState: 'parked',
  });
  expect((await look('nobody')).json.reason).toBe('member-unknown');

  const ban = await rig.ask('POST', `${at}/bans`, { body: { memberId: 'bad' } });
  const memberKey = rig.vault.memberKey('run', 'bad');
  expect(ban.json).toEqual({ memberKey, banned: true });
  // The key and not the id; compared whole, because a key may begin with any letters.
  expect(ban.headers['location']).toBe(`${at}/bans/${memberKey}`);
  expect((await rig.ask('DELETE', String(ban.headers['location']))).status).toBe(204);
  expect((await rig.ask('DELETE', `${at}/bans/bad`)).status).toBe(400);

  expect((await rig.ask('POST', `${at}/erasures`, { body: { memberId: 'm2' } })).json).toEqual({
    erased: true,
  });
  expect((await rig.ask('GET', `${at}/entries?limit=200`)).json.items[1]).toMatchObject({
    seq: 2,
    answers: null,
    erased: true,
  });
  expect((await rig.ask('POST', `${at}/erasures`, { body: { memberId: 'nobody' } })).status).toBe(404);
  expect(await rig.ledger.verify()).toMatchObject({ ok: true });
});

test('who did what: key, request, and only their campaign', async () => {
  const audit = await rig.ask('GET', `${at}/audit-records?limit=200`);
  const actions = audit.json.items.map((record: { action: string }) => record.action);
  expect(actions).toEqual(
    expect.arrayContaining(['campaign.created', 'campaign.published', 'lane.revoke', 'entries.exported']),
  );
  const keyId = rig.token.split('_')[1];
  const byKey = audit.json.items.filter(
    (record: { actor: { kind: string } }) => record.actor.kind === 'api-key',
  );
  expect(byKey.length).toBeGreaterThan(5);
  for (const { actor } of byKey)
    expect(actor).toEqual({ kind: 'api-key', id: keyId, requestId: expect.any(String) });
  expect(JSON.stringify(audit.json)).not.toMatch(/"m2"|"bad"/);
  const others = await rig.ask('GET', '/v1/campaigns/other/audit-records?limit=200');
  expect(JSON.stringify(others.json)).not.toContain('lane.revoke');
  expect((await rig.ask('GET', '/v1/audit-records?limit=1')).json.items).toHaveLength(1);
  expect((await rig.ask('POST', '/v1/reconciliations')).json).toEqual({ repaired: 0 });
});

test('a cursor that is not ours is no failure of ours', async () => {
  for (const list of [
    '/v1/campaigns',
    `${at}/entries`,
    `${at}/deliveries`,
    `${at}/audit-records`,
    '/v1/audit-records',
  ]) {
    for (const after of ['garbage', '%00', '-1', '9'.repeat(400), 'eyJ9']) {
      expect((await rig.ask('GET', `${list}?after=${after}`)).status, `${list} ${after}`).toBeLessThan(500);
    }
  }
});
