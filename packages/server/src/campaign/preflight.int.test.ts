// Each finding of the pre-flight by a campaign that has just that fault, on a real ledger.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@doorbuster/messaging';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { afterEach, describe, expect, it } from 'vitest';
import { createFileMessenger } from '../fulfilment/messengers/file.ts';
import { createSmtpMessenger } from '../fulfilment/messengers/smtp.ts';
import { actor, importCodes, openLedger } from '../fulfilment/testing/stage.ts';
import { createPoolSource } from '../fulfilment/voucher-sources/pool.ts';
import { createHttpIdempotentSource } from '../fulfilment/voucher-sources/http-idempotent.ts';
import { Vault } from '../vault.ts';
import type { CampaignDefinition } from './definition.ts';
import { createPreflight, type PreflightParts } from './preflight.ts';

const folder = mkdtempSync(join(tmpdir(), 'preflight-'));
/** Ledgers and messengers: a file that is left to the garbage collector is an error in this Node. */
const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const part of opened.splice(0)) await part.close();
});
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const good: CampaignDefinition = {
  title: { ko: '봄' },
  prize: { ko: '커피' },
  startsAt: new Date(Date.now() + 3_600_000).toISOString(),
  stock: { capacity: 5 },
  reward: { messengers: ['file'] },
  page: { returnUrl: 'https://shop.example/events' },
};

async function check(
  definition: CampaignDefinition,
  options: {
    codes?: number;
    /** The pool is taken at its word: it does not count. */
    trusting?: boolean;
    clock?: PreflightParts['clock'];
    listed?: { contact: boolean }[];
    /** Between the start of the process and the check. */
    meanwhile?: () => void;
  } = {},
) {
  const ledger = openLedger();
  opened.push(ledger);
  await ledger.campaigns.create('spring', definition, actor);
  if (options.codes !== 0) await importCodes(ledger, 'spring', options.codes ?? 5);
  if (options.listed) {
    const begun = await ledger.imports.begin('spring', 'members', 'append', actor);
    if (!begun.ok) throw new Error(begun.code);
    const vault = new Vault(Buffer.alloc(32, 7));
    await ledger.imports.members(
      begun.value,
      options.listed.map(({ contact }, member) => ({
        memberKey: vault.memberKey('spring', `m${member}`),
        contact: contact ? { email: `m${member}@example.com` } : null,
        attributes: {},
      })),
    );
    await ledger.imports.commit(begun.value);
  }
  const clock = options.clock ?? systemClock;
  const messengers = [
    createFileMessenger({ name: 'file', path: join(folder, 'm.ndjson'), clock }),
    createSmtpMessenger({ name: 'smtp', url: 'smtp://127.0.0.1:9', from: 'a@example.com', timeoutMs: 500 }),
  ];
  opened.push(...messengers);
  const preflight = createPreflight({
    ledger,
    clock,
    config: { allowedOrigins: ['https://shop.example'] },
    sources: [
      options.trusting ? { ...createPoolSource(ledger), check: async () => [] } : createPoolSource(ledger),
      createHttpIdempotentSource({ name: 'acme', url: 'http://127.0.0.1:9', secret: 's' }),
    ],
    messengers,
  });
  options.meanwhile?.();
  const findings = await preflight((await ledger.campaigns.get('spring'))!);
  return findings.map(({ code, level, pointer }) => `${level} ${code} ${pointer ?? ''}`.trim());
}

describe('preflight', () => {
  it('has nothing to say of a campaign that is ready', async () => expect(await check(good)).toEqual([]));

  it.each<[string, CampaignDefinition]>([
    ['error terms-invalid /stock/safetyStock', { ...good, stock: { capacity: 5, safetyStock: 6 } }],
    ['error terms-invalid /endsAt', { ...good, endsAt: new Date(Date.now() + 60_000).toISOString() }],
    ['error link-origin-unknown /page/returnUrl', { ...good, page: { returnUrl: 'https://evil.example/' } }],
    ['error link-invalid /page/loginUrl', { ...good, page: { loginUrl: 'javascript:alert(1)' } }],
    [
      'warning placeholder-unknown /reward/message/body',
      {
        ...good,
        reward: { messengers: ['file'], message: { subject: { ko: 's' }, body: { ko: '{code} {name}' } } },
      },
    ],
    [
      'warning message-without-voucher /reward/message/body',
      {
        ...good,
        reward: { messengers: ['file'], message: { subject: { ko: 's' }, body: { ko: '축하합니다' } } },
      },
    ],
    [
      'warning waitlist-closes /stock/closeWhenSoldOut',
      { ...good, stock: { ...good.stock, waitlistLimit: 3 } },
    ],
    ['warning korean-text-missing /title', { ...good, title: { en: 'Spring' } }],
    ['warning starts-in-the-past /startsAt', { ...good, startsAt: '2026-01-01T00:00:00Z' }],
    ['error messenger-unknown /reward/messengers/0', { ...good, reward: { messengers: ['pigeon'] } }],
    ['error messenger-unusable /reward/messengers/0', { ...good, reward: { messengers: ['smtp'] } }],
    [
      'warning messenger-unusable /reward/messengers/1',
      { ...good, reward: { messengers: ['file', 'smtp'] } },
    ],
    [
      'error source-unknown /reward/voucherSource',
      { ...good, reward: { messengers: ['file'], voucherSource: 'nobody' } },
    ],
    [
      'error source-unusable /reward/voucherSource',
      { ...good, reward: { messengers: ['file'], voucherSource: 'acme' } },
    ],
    [
      'error eligibility-invalid /eligibility/rules',
      { ...good, eligibility: { audience: 'anyone', rules: [{ rule: 'min-orders', orders: 1 }] } },
    ],
    ['error members-missing /eligibility/audience', { ...good, eligibility: { audience: 'listed' } }],
  ])('%s', async (finding, definition) => expect(await check(definition)).toEqual([finding]));

  it('control: a pool that does not count its codes lets through what would fail at send time', async () => {
    expect(await check(good, { codes: 4, trusting: true })).toEqual([]);
  });
  it('codes have to cover the units', async () => {
    expect(await check(good, { codes: 4 })).toEqual(['error codes-short /reward/voucherSource']);
    expect(await check(good, { codes: 0 })).toEqual(['error codes-short /reward/voucherSource']);
  });
  it('faults of the survey come with their place', async () => {
    const survey = {
      questions: [
        {
          id: 'q',
          type: 'single' as const,
          label: { ko: '?' },
          options: [
            { id: 'a', label: { ko: 'a' } },
            { id: 'a', label: { ko: 'b' } },
          ],
        },
      ],
    };
    expect((await check({ ...good, survey }))[0]).toMatch(/^error survey-invalid \/survey\/questions\/0/);
  });
  it('says how many listed members cannot be reached', async () => {
    const listed = [true, true, true, true, false].map((contact) => ({ contact }));
    const definition: CampaignDefinition = { ...good, eligibility: { audience: 'listed' } };
    expect(await check(definition, { listed })).toEqual([]);
    expect(await check({ ...definition, reward: { messengers: ['smtp'] } }, { listed })).toContain(
      'warning contacts-missing /reward/messengers',
    );
  });
  it('sees a clock that was moved since the process started', async () => {
    const clock = createManualClock(Date.now());
    expect(await check(good, { clock })).toEqual([]);
    expect(await check(good, { clock, meanwhile: () => clock.step(-60_000) })).toEqual([
      'error clock-stepped',
    ]);
  });
});
