import { DatabaseSync } from 'node:sqlite';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openInProcessLedger } from '../../ledgers/sqlite/in-process.ts';
import { type Fixture, openFixture } from '../app-fixture.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    config: { limits: { addressBurst: 10_000_000, memberBurst: 1_000_000 } },
  });
  await fixture.campaign('gift', {
    stock: { capacity: 1_000_000 },
    survey: {
      questions: [
        { id: 'why', type: 'text', label: { en: 'Why?' } },
        {
          id: 'pick',
          type: 'multiple',
          label: { en: 'Pick' },
          options: [
            { id: 'a', label: { en: 'A' } },
            { id: 'b', label: { en: 'B' } },
          ],
        },
        { id: 'age', type: 'number', label: { en: 'Age' }, min: 0 },
      ],
    },
  });
});
afterAll(() => fixture.close());

const json = fc.oneof(fc.json(), fc.string());
/** Bodies near the right ones reach further than random ones. */
const nearly = fc
  .record({
    answers: fc.dictionary(
      fc.oneof(fc.constantFrom('why', 'pick', 'age', '__proto__', 'constructor'), fc.string()),
      fc.oneof(fc.string(), fc.double(), fc.array(fc.constantFrom('a', 'b', 'c')), fc.anything()),
    ),
  })
  .map((body) => JSON.stringify(body) ?? '');
const text = fc.string({ unit: 'binary' }).map((s) => s.replaceAll(/[^\x21-\x7e]/g, ''));
/** The page's own routes read forms, everything else JSON. */
const pageRoutes = ['/c/gift', '/c/gift/entries', '/c/gift/hand-off'];

/** What a fault of ours looks like from outside; empty when there is none. */
function faultOf({ statusCode, body }: { readonly statusCode: number; readonly body: string }): string {
  if (statusCode >= 500 && statusCode !== 503) return `${statusCode} ${body}`;
  return /node_modules|at Object\.|\.ts:\d/.test(body) ? body : '';
}

describe('whatever is sent is answered without a fault of ours', () => {
  it('entries: any body', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(json, nearly), fc.nat(50), async (payload, i) => {
        const headers = { ...fixture.bearer('gift', `m${i}`), 'content-type': 'application/json' };
        const url = '/v1/campaigns/gift/entries';
        const answer = await fixture.app.inject({ method: 'POST', url, headers, payload });
        expect(faultOf(answer)).toBe('');
        expect([200, 201, 400, 422]).toContain(answer.statusCode);
      }),
      { numRuns: 300 },
    );
  });

  it('credentials: any bearer, any cookie', async () => {
    await fc.assert(
      fc.asyncProperty(text, text, fc.boolean(), async (bearer, cookie, withBearer) => {
        const headers: Record<string, string> = { cookie: `doorbuster_session=${cookie}` };
        if (withBearer) headers['authorization'] = `Bearer ${bearer}`;
        const own = await fixture.app.inject({ url: '/v1/campaigns/gift/entries/mine', headers });
        const page = await fixture.app.inject({ url: '/c/gift', headers });
        expect([own.statusCode, faultOf(own), faultOf(page)]).toEqual([401, '', '']);
      }),
      { numRuns: 150 },
    );
  });

  it('page forms, campaign ids, queries, languages', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...pageRoutes),
        fc.dictionary(fc.string(), fc.string()),
        text,
        fc.string({ unit: 'grapheme' }),
        async (path, fields, language, id) => {
          const form = { 'content-type': 'application/x-www-form-urlencoded', 'accept-language': language };
          const payload = new URLSearchParams(fields).toString();
          const posted = await fixture.app.inject({ method: 'POST', url: path, headers: form, payload });
          expect(faultOf(posted)).toBe('');
          for (const url of [
            `${path}?lang=${encodeURIComponent(language)}`,
            `/c/${encodeURIComponent(id)}`,
            `/v1/campaigns/${encodeURIComponent(id)}/status`,
          ]) {
            const answer = await fixture.app.inject({ url, headers: { 'accept-language': language } });
            expect(faultOf(answer)).toBe('');
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it('and the ledger is whole afterwards', async () => {
    expect((await fixture.ledger.verify()).violations).toEqual([]);
  });
});
