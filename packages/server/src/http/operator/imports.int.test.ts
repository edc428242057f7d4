/** Imports into a real ledger: all or nothing, a hundred thousand rows, flat memory. */
import { Agent, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { definition, type OperatorRig, openOperatorRig } from './testing/operator-rig.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

let rig: OperatorRig;
beforeAll(async () => {
  rig = await openOperatorRig();
  for (const id of ['a', 'b', 'big']) await rig.ask('POST', '/v1/campaigns', { body: { id, definition } });
});
afterAll(() => rig.close());

const codes = (text: string, query = '', id = 'a') =>
  rig.ask('POST', `/v1/campaigns/${id}/voucher-codes${query}`, { text, type: 'text/csv; charset=utf-8' });
const members = (text: string, query = '', id = 'a') =>
  rig.ask('POST', `/v1/campaigns/${id}/members${query}`, { text, type: 'text/csv' });
const countOf = async (id = 'a') => (await rig.ask('GET', `/v1/campaigns/${id}`)).json;

test('CSV with BOM and CRLF, warnings with the answer', async () => {
  expect((await codes('\ufeffcode,pin\r\nA-1,11\r\nA-2,\r\n')).json).toEqual({
    rows: 2,
    total: 2,
    skipped: 0,
    faults: [],
    warnings: ['1 units have no code yet'],
  });
  const told = await members(
    'memberId,email,tags\nm1,kim@example.com,vip;early\nm2,,\nm1,lee@example.com,\n',
  );
  expect(told.json).toMatchObject({
    rows: 2,
    total: 2,
    warnings: ['1 rows repeat a member; the last one counts', '1 members have neither email nor phone'],
  });
});

test('one bad row and nothing is imported; every bad row is named', async () => {
  const told = await codes('code,url\nA-3,\n,\nA-4,javascript:x\nA-1,\nA-5\n');
  expect(told.json).toMatchObject({ status: 422, reason: 'import-faulty', faultyRows: 4 });
  expect(told.json.rows).toEqual([
    { line: 3, message: 'code is missing' },
    { line: 4, message: 'url is not an http or https address' },
    { line: 5, message: 'this code is there already' },
    { line: 6, message: 'has 1 fields, the header 2' },
  ]);
  expect((await countOf()).voucherCodeCount).toBe(2);
});

test('with onError=skip the good rows are in', async () => {
  const told = await codes('code\nA-3\nA-1\nA-3\n"\n', '?onError=skip');
  expect(told.json).toMatchObject({ rows: 1, total: 3, skipped: 3 });
  expect(told.json.faults.map((fault: { line: number }) => fault.line)).toEqual([3, 4, 5]);
});

test('replace drops what was there; of a published campaign codes are only added', async () => {
  expect((await codes('code\nB-1\nB-2\nB-3\n', '?mode=replace')).json).toMatchObject({ rows: 3, total: 3 });
  await rig.ask('POST', '/v1/campaigns/a/publications');
  expect((await codes('code\nC-1\n', '?mode=replace')).json).toMatchObject({
    status: 409,
    reason: 'already-published',
  });
  expect((await codes('code\nC-1\n')).json).toMatchObject({ rows: 1, total: 4 });
});

test('JSON is read row by row too', async () => {
  const told = await rig.ask('POST', '/v1/campaigns/b/members', {
    body: [
      { memberId: 'm1', orders: 2, tags: ['x'] },
      { memberId: 'm2', phone: '+82 10 1234 5678' },
    ],
  });
  expect(told.json).toMatchObject({ rows: 2, total: 2 });
  const wrong = await rig.ask('POST', '/v1/campaigns/b/members', {
    body: [{ memberId: 'm3' }, { memberId: 'm4', isAdmin: true }, 7],
  });
  expect(wrong.json.rows).toEqual([
    { line: 2, message: 'unknown field "isAdmin"' },
    { line: 3, message: 'is not an object' },
  ]);
  expect((await countOf('b')).memberCount).toBe(2);
});

const unreadable: readonly [string, string, string][] = [
  ['text/csv', '', 'no header line'],
  ['text/csv', 'name,e-mail\nx,y\n', 'Unknown column "name"'],
  ['text/csv', 'email\nx@y.z\n', 'memberId is missing'],
  ['application/json', '{"memberId":"m"}', 'not a JSON array'],
  ['application/json', '[{"memberId":"m"}', 'does not end'],
];
test.each(unreadable)('%s %j is refused whole: %s', async (type, text, detail) => {
  const told = await rig.ask('POST', '/v1/campaigns/b/members', { text, type });
  expect(told.json).toMatchObject({ status: 422, reason: 'import-unreadable' });
  expect(told.json.detail).toContain(detail);
});

test('other types, unknown campaigns and too much are refused', async () => {
  expect(
    (await rig.ask('POST', '/v1/campaigns/b/members', { text: '<x/>', type: 'application/xml' })).status,
  ).toBe(415);
  expect((await members('memberId\nm\n', '', 'nowhere')).status).toBe(404);
  expect((await members('memberId\nm\n', '?mode=upsert')).status).toBe(400);
  expect(
    (
      await rig.ask('POST', '/v1/campaigns/b/members', {
        text: 'memberId\n',
        type: 'text/csv',
        headers: { 'content-length': String(65 * 1024 * 1024) },
      })
    ).json,
  ).toMatchObject({ status: 413, reason: 'import-too-large' });
});

test('a hundred thousand members in one request, in flat memory', async () => {
  await rig.app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = rig.app.server.address() as AddressInfo;
  const rows = 100_000;
  let peak = 0;
  function* lines(): Generator<string> {
    yield 'memberId,email,orders,tier\n';
    for (let from = 0; from < rows; from += 1_000) {
      if (from % 10_000 === 0) peak = Math.max(peak, heapAfterCollection());
      yield Array.from(
        { length: 1_000 },
        (_, at) => `member-${from + at},m${from + at}@example.com,${at % 9},gold\n`,
      ).join('');
    }
  }
  const before = heapAfterCollection();
  const told = await new Promise<{ status: number; json: { rows: number; total: number } }>(
    (resolve, reject) => {
      const headers = { authorization: `Bearer ${rig.token}`, 'content-type': 'text/csv' };
      const sent = httpRequest(
        { port, host: '127.0.0.1', method: 'POST', path: '/v1/campaigns/big/members', headers },
        (response) => {
          let text = '';
          response
            .on('data', (chunk) => (text += chunk))
            .on('end', () => resolve({ status: response.statusCode ?? 0, json: JSON.parse(text) }));
        },
      );
      sent.on('error', reject);
      pipeline(Readable.from(lines()), sent).catch(reject);
    },
  );
  expect(told).toMatchObject({ status: 200, json: { rows, total: rows } });
  // The file is 4 MB and its rows as objects some 40 MB: only a few chunks of it may be held at once.
  expect(peak - before).toBeLessThan(12 * 1024 * 1024);
});

function heapAfterCollection(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

test('an upload that is cut off imports nothing', async () => {
  const { port } = rig.app.server.address() as AddressInfo;
  const before = (await countOf('big')).memberCount;
  const ended = new Promise<void>((resolve) => {
    rig.app.server.once('connection', (socket) => socket.once('close', () => resolve()));
  });
  const headers = {
    authorization: `Bearer ${rig.token}`,
    'content-type': 'text/csv',
    'content-length': '1000000',
  };
  const agent = new Agent({ keepAlive: false });
  const sent = httpRequest({
    agent,
    port,
    host: '127.0.0.1',
    method: 'POST',
    path: '/v1/campaigns/big/members',
    headers,
  });
  sent.on('error', () => undefined);
  sent.write('memberId\nlate-1\nlate-2\n', () => sent.destroy());
  await ended;
  // The place of the aborted import is free again once it has been cleared.
  for (let tries = 0; ; tries += 1) {
    const told = await members('memberId\nfresh\n', '', 'big');
    if (told.status === 200) break;
    if (tries > 1_000) throw new Error(told.text);
  }
  expect((await countOf('big')).memberCount).toBe(before + 1);
});

test('an import without a body is refused in words, and null is as much as left out', async () => {
  await rig.draft('bare-import');
  const at = '/v1/campaigns/bare-import/members';
  for (const headers of [{}, { 'idempotency-key': 'bare' }])
    expect((await rig.ask('POST', at, { headers })).json).toMatchObject({
      status: 422,
      reason: 'import-unreadable',
    });
  const told = await rig.ask('POST', at, { body: [{ memberId: 'm1', email: null, tags: null }] });
  expect(told.json).toMatchObject({ rows: 1, total: 1 });
});
