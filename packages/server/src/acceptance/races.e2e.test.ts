// Rows 1, 2, 3, 4, 5, 8, 11, 12, 15, 20, 31, 34, 35: a crowd at the last units, over HTTP, against a whole server.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Crowd, range } from './testing/crowd.ts';
import { Installation } from './testing/installation.ts';
import { gather, judge, verified } from './testing/judge.ts';

describe('a race for the last units', () => {
  let shop: Installation;
  beforeAll(async () => {
    shop = await Installation.start();
  });
  afterAll(() => shop.stop());

  it('1, 2, 8, 15: of 1,000 members on the last unit one wins, the others hold the receipt of SOLD_OUT', async () => {
    const campaign = await shop.seed({ id: 'last-unit', members: 1_000, units: 1 });
    const crowd = new Crowd(shop, campaign.id, { connections: 256 });
    await shop.opened(campaign);
    await Promise.all(range(1_000).map((member) => crowd.insist(member)));
    await shop.delivered(campaign);
    const { faults, lane } = judge(await gather(shop, campaign, crowd.answers));
    expect([...faults, ...crowd.faults]).toEqual([]);
    expect(crowd.answers.filter((answer) => answer.verdict === 'won')).toHaveLength(1);
    expect(crowd.answers.filter((answer) => answer.verdict === 'sold-out')).toHaveLength(999);
    expect(lane).toMatchObject({ capacity: 1, issued: 1, free: 0, seq: 1 });
    await crowd.close();
  });

  it('4, 11, 20, 35: 50 copies of one request are one entry and one answer, also after a sender who hung up', async () => {
    const campaign = await shop.seed({ id: 'copies', members: 2, units: 5 });
    const crowd = new Crowd(shop, campaign.id, { connections: 50 });
    await shop.opened(campaign);
    const lost = crowd.hangUp(0);
    const copies = range(50).map(() => crowd.insist(0));
    await lost;
    const answers = await Promise.all(copies);
    const told = answers.map(({ body }) => {
      const { verdict, seq, unit, receipt } = body as Record<string, unknown>;
      return JSON.stringify({ verdict, seq, unit, receipt });
    });
    expect(new Set(told).size).toBe(1);
    expect(answers.filter(({ status }) => status === 201).length).toBeLessThanOrEqual(1);
    expect(crowd.statuses['409']).toBeUndefined();
    await shop.delivered(campaign);
    const { faults, lane } = judge(await gather(shop, campaign, crowd.answers));
    expect([...faults, ...crowd.faults]).toEqual([]);
    expect(lane).toMatchObject({ seq: 1, issued: 1, free: 4 });
    await crowd.close();
  });

  it('5, 12, 31, 34: N units, 2N members who all click twice: exactly N are issued, nobody meets an error', async () => {
    const units = 300;
    const campaign = await shop.seed({ id: 'double-clicks', members: 2 * units, units });
    const crowd = new Crowd(shop, campaign.id, { connections: 256 });
    await shop.opened(campaign);
    await Promise.all(range(4 * units).map((click) => crowd.insist(click % (2 * units))));
    await shop.delivered(campaign);
    const { faults, lane, audit } = judge(await gather(shop, campaign, crowd.answers));
    expect([...faults, ...crowd.faults]).toEqual([]);
    expect(lane).toMatchObject({ issued: units, free: 0, seq: units });
    expect(audit.delivered).toBe(units);
    expect(Object.keys(crowd.statuses).sort()).toEqual(['200', '201', '410']);
    await crowd.close();
  });

  it('2: every table equals the fold of the records', async () => expect(await verified(shop)).toEqual([]));
});

describe('control', () => {
  it('1, 5: a second winner of the last unit is found by what both were told', async () => {
    const shop = await Installation.start();
    try {
      const campaign = await shop.seed({ id: 'doctored', members: 2, units: 1 });
      const crowd = new Crowd(shop, campaign.id);
      await shop.opened(campaign);
      const won = await crowd.insist(0);
      expect((await crowd.insist(1)).status).toBe(410);
      await shop.delivered(campaign);
      const honest = await gather(shop, campaign, crowd.answers);
      expect(judge(honest).faults).toEqual([]);
      const both = judge({ ...honest, answers: [won, { ...won, member: 1 }] });
      expect(both.faults).toContain('two members were told the same number');
      await crowd.close();
    } finally {
      await shop.stop();
    }
  });

  it('3, 4: without the look for who is in, and the index behind it, the judge finds members served twice', async () => {
    const shop = await Installation.start({ defect: 'no-unique-member' });
    try {
      const campaign = await shop.seed({ id: 'defect', members: 20, units: 100 });
      const crowd = new Crowd(shop, campaign.id);
      await shop.opened(campaign);
      await Promise.all(range(60).map((click) => crowd.enter(click % 20)));
      await shop.delivered(campaign);
      const { faults, audit } = judge(await gather(shop, campaign, crowd.answers));
      expect(faults.join('\n')).toMatch(/was told won \d+, then won \d+/);
      expect(audit.servedTwice).toBeGreaterThan(0);
      // And 50 copies of one request are no longer one answer.
      const copies = new Crowd(shop, campaign.id, { connections: 50 });
      const answers = await Promise.all(range(50).map(() => copies.enter(19)));
      const seqs = answers.map((answer) => (answer?.body as { seq?: number } | undefined)?.seq);
      expect(new Set(seqs).size).toBeGreaterThan(1);
      await copies.close();
      await crowd.close();
    } finally {
      await shop.stop();
    }
  });
});
