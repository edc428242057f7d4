// Rows 14 and 19: opening and closing are records of the lane, whatever clocks, links and crowds say.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '@doorbuster/messaging';
import { Crowd, range } from './testing/crowd.ts';
import { Installation, type SeededCampaign } from './testing/installation.ts';
import { gather, judge } from './testing/judge.ts';
import { until } from './testing/process.ts';

const dayMs = 86_400_000;

/** Knocks from before the opening until it is open, with clocks a day off and by the direct link of the page. */
async function knock(shop: Installation, crowd: Crowd, campaign: SeededCampaign): Promise<void> {
  const page = `${shop.url}/c/${campaign.id}`;
  let member = 0;
  while (systemClock.now() < campaign.startsAtMs - 100) {
    const skewed = new Date(systemClock.now() + (member % 2 === 0 ? dayMs : -dayMs)).toUTCString();
    await crowd.enter(member % 20, { date: skewed, 'if-modified-since': skewed, 'x-client-time': skewed });
    await fetch(page, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${crowd.token(member % 20)}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: 'sent=1',
      redirect: 'manual',
    });
    member += 1;
  }
}

describe('opening', () => {
  let shop: Installation;
  beforeAll(async () => {
    shop = await Installation.start();
  });
  afterAll(() => shop.stop());

  it('19: nobody is in before OPENED, with clocks 24 h off and a direct link; everybody may be right after', async () => {
    const campaign = await shop.seed({ id: 'on-the-dot', members: 40, units: 40, opensInMs: 4_000 });
    const crowd = new Crowd(shop, campaign.id);
    await knock(shop, crowd, campaign);
    expect(crowd.answers.length).toBeGreaterThan(10);
    expect(new Set(crowd.answers.map(({ status, verdict }) => `${status} ${verdict}`))).toEqual(
      new Set(['409 not-open']),
    );
    const opensAt = new Set(crowd.answers.map(({ body }) => (body as { opensAt: string }).opensAt));
    expect([...opensAt]).toEqual([new Date(campaign.startsAtMs).toISOString()]);
    await shop.opened(campaign);
    await Promise.all(range(40).map((member) => crowd.insist(member)));
    await shop.delivered(campaign);
    const { faults, records } = judge(await gather(shop, campaign, crowd.answers));
    expect([...faults, ...crowd.faults]).toEqual([]);
    expect(records.slice(0, 3).map(({ type }) => type)).toEqual(['PUBLISHED', 'OPENED', 'ENTRY']);
    await crowd.close();
  });

  it('14: closed by the operator under a racing crowd: no entry behind CLOSED, and who was told yes is before it', async () => {
    const campaign = await shop.seed({ id: 'shut', members: 3_000, units: 3_000 });
    const crowd = new Crowd(shop, campaign.id, { connections: 64 });
    await shop.opened(campaign);
    // The last third comes after the closing, however fast the others were.
    const shut = Promise.withResolvers<void>();
    const entering = crowd.each(range(3_000), 64, async (member) => {
      if (member >= 2_000) await shut.promise;
      return crowd.insist(member);
    });
    await until('some are in', () => crowd.answers.length > 400);
    await shop.client
      .call('POST', `/v1/campaigns/${campaign.id}/closures`, { body: {} })
      .finally(() => shut.resolve());
    const closedAt = systemClock.now();
    await entering;
    const late = crowd.answers.filter(({ sentAt, verdict }) => sentAt > closedAt && verdict === 'won');
    expect(late).toEqual([]);
    await shop.delivered(campaign);
    const { faults, records, lane } = judge(await gather(shop, campaign, crowd.answers));
    expect([...faults, ...crowd.faults]).toEqual([]);
    expect(records.at(-1)).toMatchObject({ type: 'CLOSED', reason: 'operator' });
    const won = crowd.answers.filter(({ verdict }) => verdict === 'won').length;
    expect(lane.issued).toBe(won);
    expect(won).toBeLessThan(3_000);
    expect(crowd.answers.filter(({ verdict }) => verdict === 'closed').length).toBe(3_000 - won);
    await crowd.close();
  });

  it('14: closed by its end, on the dot, with units left', async () => {
    const endsAt = new Date(systemClock.now() + 12_000);
    const campaign = await shop.seed({
      id: 'ends',
      members: 400,
      units: 1_000,
      definition: { endsAt: endsAt.toISOString() },
    });
    const crowd = new Crowd(shop, campaign.id, { connections: 8 });
    await shop.opened(campaign);
    let ended = false;
    await crowd.each(range(400), 1, async (member) => {
      if (ended) return;
      const answer = await crowd.insist(member);
      if (member === 20) await until('the end', () => systemClock.now() > endsAt.getTime() - 50);
      ended = answer.verdict === 'closed' && member > 100;
    });
    await shop.delivered(campaign);
    const { faults, records } = judge(await gather(shop, campaign, crowd.answers));
    expect([...faults, ...crowd.faults]).toEqual([]);
    const closed = records.at(-1);
    expect(closed).toMatchObject({ type: 'CLOSED', reason: 'ends-at' });
    expect(closed?.at).toBeGreaterThanOrEqual(endsAt.getTime());
    const last = records.findLast(({ type }) => type === 'ENTRY');
    expect(last?.at).toBeLessThan(endsAt.getTime());
    await crowd.close();
  });
});

describe('control', () => {
  it('14, 19: an entry behind CLOSED, and an opening before its time, are found in the evidence', async () => {
    const shop = await Installation.start();
    try {
      const campaign = await shop.seed({ id: 'doctored', members: 3, units: 3 });
      const crowd = new Crowd(shop, campaign.id);
      await shop.opened(campaign);
      await Promise.all(range(3).map((member) => crowd.insist(member)));
      await shop.client.call('POST', `/v1/campaigns/${campaign.id}/closures`, { body: {} });
      await shop.delivered(campaign);
      const honest = await gather(shop, campaign, crowd.answers);
      expect(judge(honest).faults).toEqual([]);
      const records = honest.chain.records.map((record) =>
        record.type === 'CLOSED' ? { ...record, recordNo: 4 } : record,
      );
      expect(judge({ ...honest, chain: { ...honest.chain, records } }).faults).toEqual([
        'entry 3 after the end',
      ]);
      const early = judge({ ...honest, startsAtMs: campaign.startsAtMs + 60_000 });
      expect(early.faults.join('\n')).toMatch(/opened \d+ ms early\nentry 1 before the opening/);
      await crowd.close();
    } finally {
      await shop.stop();
    }
  });
});
