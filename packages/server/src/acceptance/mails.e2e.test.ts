// Rows 16, 18, 22, 24, 28, 30: what the shop's people see when mail goes wrong, and what the members get all the same.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CliError } from '../cli/failure.ts';
import { emailOf } from '../cli/demo/crowd-plan.ts';
import { Crowd, range } from './testing/crowd.ts';
import { codeOf, csv, Installation, type SeededCampaign } from './testing/installation.ts';
import { exportChain, gather, judge, verified } from './testing/judge.ts';
import { until } from './testing/process.ts';

type States = Readonly<Record<string, number>>;

async function statesOf(shop: Installation, id: string): Promise<States> {
  const { json } = await shop.client.call('GET', `/v1/campaigns/${id}/delivery-summary`);
  return json.byState as States;
}

/** Distinct codes by member, from the mails that arrived. */
function codesByMember(
  shop: Installation,
  campaign: SeededCampaign,
): ReadonlyMap<string, ReadonlySet<string>> {
  const codes = new Map<string, Set<string>>();
  for (const mail of shop.mails()) {
    if (!campaign.codes.has(codeOf(mail))) continue;
    codes.set(mail.to, (codes.get(mail.to) ?? new Set()).add(codeOf(mail)));
  }
  return codes;
}

async function everybodyEnters(
  shop: Installation,
  campaign: SeededCampaign,
  members: number,
): Promise<Crowd> {
  const crowd = new Crowd(shop, campaign.id);
  await shop.opened(campaign);
  await crowd.each(range(members), 32, (member) => crowd.insist(member));
  return crowd;
}

describe('a mail server that misbehaves', () => {
  it('24, 28: refuses, is slow, and goes silent after the message: unknown is shown, nobody gets two vouchers, it ends by itself', async () => {
    const shop = await Installation.start({
      mailFlags: ['--silent-share', '0.3', '--refuse-share', '0.3', '--delay-ms', '100'],
    });
    try {
      const units = 60;
      const campaign = await shop.seed({ id: 'bad-mail', members: units, units });
      const crowd = await everybodyEnters(shop, campaign, units);
      const unknown = await until('a delivery is shown as unknown', async () => {
        const { json } = await shop.client.call(
          'GET',
          `/v1/campaigns/${campaign.id}/deliveries?state=unknown`,
        );
        return (json.items as { seq: number; deliveredAt: string | null }[])[0];
      });
      expect(unknown.deliveredAt).toBeNull();
      await shop.tellMail({ silentShare: 0, refuseShare: 0, delayMs: 0 });
      const settled = await until(
        'every delivery is settled',
        async () => {
          const states = await statesOf(shop, campaign.id);
          return (states.due ?? 0) + (states.sending ?? 0) === 0 && states;
        },
        60_000,
      );
      expect((settled.delivered ?? 0) + (settled.parked ?? 0) + (settled.unknown ?? 0)).toBe(units);
      // Silent twice: the server cannot know, so a person decides; one command for all of them.
      await shop.client.call('POST', `/v1/campaigns/${campaign.id}/delivery-batches`, { body: {} });
      await until(
        'all delivered',
        async () => (await statesOf(shop, campaign.id)).delivered === units,
        60_000,
      );
      const { faults, audit } = judge(await gather(shop, campaign, crowd.answers));
      expect([...faults, ...crowd.faults]).toEqual([]);
      expect(audit).toMatchObject({ servedTwice: 0, delivered: units });
      await crowd.close();
    } finally {
      await shop.stop();
    }
  });

  it('22: away for a while, with one mailbox that refuses for good: that one is parked with its reason, all others are served by themselves', async () => {
    const shop = await Installation.start({ mailFlags: ['--refuse-share', '1'] });
    try {
      const units = 40;
      const mailbox = (member: number): string => (member === 7 ? 'bounce-7@shop.example' : emailOf(member));
      const campaign = await shop.seed({ id: 'poison', members: units, units, emailOf: mailbox });
      const crowd = await everybodyEnters(shop, campaign, units);
      await until('the first refusals', async () => {
        const { json } = await shop.client.call('GET', `/v1/campaigns/${campaign.id}/deliveries`);
        return (json.items as { errorCode: string | null }[]).some(({ errorCode }) => errorCode !== null);
      });
      expect(codesByMember(shop, campaign).size).toBe(0);
      await shop.tellMail({ refuseShare: 0 });
      await until(
        'all but one delivered',
        async () => (await statesOf(shop, campaign.id)).delivered === units - 1,
        60_000,
      );
      const { json } = await shop.client.call('GET', `/v1/campaigns/${campaign.id}/deliveries?state=parked`);
      expect(json.items).toHaveLength(1);
      expect((json.items as { errorCode: string }[])[0]?.errorCode).toMatch(/550/);
      const codes = codesByMember(shop, campaign);
      expect(codes.size).toBe(units - 1);
      expect([...codes.values()].every((distinct) => distinct.size === 1)).toBe(true);
      expect(codes.has(mailbox(7))).toBe(false);
      await crowd.close();
    } finally {
      await shop.stop();
    }
  });
});

describe("the operator's side", () => {
  let shop: Installation;
  beforeAll(async () => {
    shop = await Installation.start();
  });
  afterAll(() => shop.stop());

  it('16: revoked and promoted under a crowd: nothing is counted twice, nothing is lost', async () => {
    const campaign = await shop.seed({
      id: 'waitlist',
      members: 80,
      units: 20,
      codes: 40,
      stock: { waitlistLimit: 15 },
    });
    const crowd = await everybodyEnters(shop, campaign, 80);
    const at = `/v1/campaigns/${campaign.id}`;
    const before = await shop.lane(campaign.id);
    expect(before).toMatchObject({ issued: 20, waiting: 15, entries: 35, free: 0 });
    // Five winners and two who wait lose their place, while others knock.
    const revoked = [1, 5, 9, 13, 20, 22, 30];
    await Promise.all([
      ...revoked.map((seq) => shop.client.call('POST', `${at}/revocations`, { body: { seq } })),
      crowd.each(range(80), 16, (member) => crowd.enter(member)),
    ]);
    const lane = await shop.lane(campaign.id);
    const { free = 0, reserved = 0, held = 0, issued = 0, capacity = 0 } = lane;
    expect(free + reserved + held + issued + (lane.void ?? 0)).toBe(capacity);
    const { records, lane: folded, faults } = await exportChain(shop, campaign.id);
    const count = (type: string): number => records.filter((record) => record.type === type).length;
    expect(count('REVOKED')).toBe(revoked.length);
    // A place is taken back once: live grants and waiting places are entries less what was revoked.
    expect(folded.issued + folded.waiting).toBe(count('ENTRY') - revoked.length);
    expect(folded).toMatchObject({ issued, free, waiting: lane.waiting, void: lane.void });
    await expect(shop.client.call('POST', `${at}/revocations`, { body: { seq: 1 } })).rejects.toThrow(
      CliError,
    );
    expect((await exportChain(shop, campaign.id)).records.length).toBe(records.length);
    expect([...faults, ...crowd.faults, ...(await verified(shop))]).toEqual([]);
    await crowd.close();
  });

  it('18: what would fail at send time is refused at publication: too few codes, no contact, a mail server that is not there', async () => {
    const draft = { id: 'not-ready', members: 0, units: 5 };
    const publish = () => shop.client.call('POST', '/v1/campaigns/not-ready/publications', { body: {} });
    await shop.draft({ ...draft, definition: { reward: { messengers: ['pigeon'] } } }, Date.now() + 60_000);
    const at = '/v1/campaigns/not-ready';
    await shop.client.call('POST', `${at}/members`, csv(['memberId,email', 'm-1,m1@shop.example', 'm-2,']));
    await shop.client.call('POST', `${at}/voucher-codes`, csv(['code', 'DB-1', 'DB-2']));
    const failure = await publish().then(
      () => null,
      (error: unknown) => error as CliError,
    );
    const said = failure?.faults.map(({ message }) => message).join('\n') ?? '';
    expect(said).toMatch(/pigeon/);
    expect(said).toMatch(/code/i);
    expect((await shop.client.call('GET', at)).json).toMatchObject({ state: 'draft', lane: null });
    const { etag } = await shop.client.call('GET', at);
    expect(etag).not.toBeNull();
  });

  it('30: the export opens in Excel: BOM, CRLF, no cell that runs', async () => {
    const survey = { questions: [{ id: 'wish', type: 'text', label: { ko: '바라는 점' }, maxLength: 300 }] };
    const campaign = await shop.seed({ id: 'excel', members: 2, units: 2, definition: { survey } });
    await shop.opened(campaign);
    const crowd = new Crowd(shop, campaign.id);
    const wishes = ['=HYPERLINK("http://evil.example","눌러요")', '디카페인, "따뜻하게"\r\n둘째 줄'];
    for (const [member, wish] of wishes.entries()) {
      const response = await fetch(`${shop.url}/v1/campaigns/excel/entries`, {
        method: 'POST',
        headers: { authorization: `Bearer ${crowd.token(member)}`, 'content-type': 'application/json' },
        body: JSON.stringify({ answers: { wish } }),
      });
      expect(response.status).toBe(201);
      await response.text();
    }
    const file = shop.path('entries.csv');
    expect((await shop.command('campaign', 'export', 'excel', '--to', file)).code).toBe(0);
    const { readFileSync } = await import('node:fs');
    const bytes = readFileSync(file);
    expect([...bytes.subarray(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
    const text = bytes.toString('utf8');
    expect(text).toContain('"\'=HYPERLINK(""http://evil.example"",""눌러요"")"');
    expect(text).toContain('디카페인, ""따뜻하게""');
    expect(text.split('\r\n').filter((line) => /^=|,=/.test(line))).toEqual([]);
    await crowd.close();
  });
});

describe('control', () => {
  it('24: the judge finds a second voucher of a member, and a voucher that reached two', async () => {
    const shop = await Installation.start();
    try {
      const campaign = await shop.seed({ id: 'doctored', members: 2, units: 2, codes: 3 });
      const crowd = await everybodyEnters(shop, campaign, 2);
      await shop.delivered(campaign);
      const honest = await gather(shop, campaign, crowd.answers);
      expect(judge(honest).faults).toEqual([]);
      const [first, second] = honest.mails;
      if (!first || !second) throw new Error('two mails were expected');
      const spare =
        [...campaign.codes].find((code) => honest.mails.every((mail) => codeOf(mail) !== code)) ?? '';
      const twice = { ...first, text: first.text.replace(codeOf(first), spare) };
      expect(judge({ ...honest, mails: [...honest.mails, twice] }).audit.servedTwice).toBe(1);
      const shared = { ...first, to: second.to };
      expect(judge({ ...honest, mails: [...honest.mails, shared] }).audit.servedTwice).toBe(2);
      expect(judge({ ...honest, mails: [first] }).audit.undelivered).toBe(1);
      await crowd.close();
    } finally {
      await shop.stop();
    }
  });
});
