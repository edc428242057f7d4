// Rows 1, 5, 14, 16, 33: what an operator does at the worst moment, against a crowd, over HTTP. Each race is judged from outside, and each has the server on which the same judgement fails.
import { describe, expect, it } from 'vitest';
import { decodeRecord, type LaneRecord } from '@doorbuster/core';
import { systemClock } from '@doorbuster/messaging';
import type { ReceivedMail } from '../cli/demo/audit.ts';
import type { KeptAnswer } from '../cli/demo/crowd.ts';
import { emailOf } from '../cli/demo/crowd-plan.ts';
import { Crowd, range } from './testing/crowd.ts';
import { codeOf, Installation } from './testing/installation.ts';
import { exportChain, gather, judge, verified } from './testing/judge.ts';
import { until } from './testing/process.ts';

async function on<T>(defect: string | null, play: (shop: Installation) => Promise<T>): Promise<T> {
  const shop = await Installation.start(defect === null ? {} : { defect });
  try {
    return await play(shop);
  } finally {
    await shop.stop();
  }
}

describe('top-up against sold-out', () => {
  /** A refusal sent after the answer to a top-up, by the record of an earlier selling-out: a unit was free then, and the member was told there was none. */
  function toldWhileFree(
    answers: readonly KeptAnswer[],
    records: readonly LaneRecord[],
    toppedUpAt: readonly number[],
  ): string[] {
    const reopenings = records.filter(({ type }) => type === 'REOPENED').map(({ recordNo }) => recordNo);
    return answers
      .filter(({ verdict }) => verdict === 'sold-out')
      .flatMap(({ member, sentAt, body }) => {
        const before = toppedUpAt.filter((at) => at < sentAt).length;
        const { receipt } = body as { receipt: { record: string } };
        const refusedBy = decodeRecord(receipt.record).recordNo;
        const reopened = reopenings[before - 1];
        const stale = before > 0 && (reopened === undefined || refusedBy < reopened);
        return stale
          ? [`member ${member} was told sold-out by record ${refusedBy} after top-up ${before}`]
          : [];
      });
  }

  const topUps = 5;
  const play = (defect: string | null) =>
    on(defect, async (shop) => {
      const campaign = await shop.seed({ id: 'topped-up', members: 80, units: 5, codes: 25 });
      const crowd = new Crowd(shop, campaign.id, { connections: 32 });
      await shop.opened(campaign);
      await Promise.all(range(20).map((member) => crowd.insist(member)));
      const toppedUpAt: number[] = [];
      let isOver = false;
      const knocking = Promise.all(
        range(32).map(async (first) => {
          for (let member = first; !isOver; member = (member + 32) % 80) await crowd.enter(member);
        }),
      );
      for (const _ of range(topUps)) {
        await until('it is sold out again, or never was', async () => {
          const { free, soldOut } = (await shop.lane(campaign.id)) as Record<string, unknown>;
          return soldOut === true || free !== 0;
        });
        await shop.client.call('POST', `/v1/campaigns/${campaign.id}/stock-changes`, {
          body: { capacityBy: 4 },
        });
        toppedUpAt.push(systemClock.now());
        const seen = crowd.answers.length;
        await until('the crowd has asked since', () => crowd.answers.length > seen + 64);
      }
      isOver = true;
      await knocking;
      await crowd.each(range(80), 32, (member) => crowd.enter(member));
      const lane = await shop.lane(campaign.id);
      await shop.delivered(campaign);
      const evidence = await gather(shop, campaign, crowd.answers);
      const { faults } = judge(evidence);
      await crowd.close();
      return {
        lane,
        stale: toldWhileFree(crowd.answers, evidence.chain.records, toppedUpAt),
        faults: [...faults, ...crowd.faults, ...(defect === null ? await verified(shop) : [])],
      };
    });

  it('5, 33: nobody who asks after a top-up is told by the sold-out before it, and every unit finds its taker', async () => {
    const { lane, stale, faults } = await play(null);
    expect({ stale, faults }).toEqual({ stale: [], faults: [] });
    expect(lane).toMatchObject({ capacity: 25, issued: 25, free: 0 });
  });

  it('control: a lane that forgets to reopen is found: units stay free while people are told that there are none', async () => {
    const { lane, stale } = await play('forgets-to-reopen');
    expect(lane.free).toBe(20);
    expect(stale.length).toBeGreaterThan(0);
  });
});

describe('revoke against delivery', () => {
  const units = 24;
  const addressOfSeq = (answers: readonly KeptAnswer[]) =>
    new Map(
      answers
        .filter(({ verdict }) => verdict === 'won' || verdict === 'waitlisted')
        .map(({ member, body }) => [(body as { seq: number }).seq, emailOf(member)]),
    );

  /** What a mail in the hands of somebody who was revoked must mean, and that no code has two holders and nobody two codes. */
  function faultsOf(
    records: readonly LaneRecord[],
    mails: readonly ReceivedMail[],
    answers: readonly KeptAnswer[],
  ): string[] {
    const holders = Map.groupBy(mails, codeOf);
    const given = Map.groupBy(mails, ({ to }) => to);
    const addresses = addressOfSeq(answers);
    const shared = [...holders].filter(([, of]) => new Set(of.map(({ to }) => to)).size > 1);
    const twice = [...given].filter(([, of]) => new Set(of.map(codeOf)).size > 1);
    const shownAndFree = records.filter(
      (record) =>
        record.type === 'REVOKED' &&
        record.unitBecomes === 'free' &&
        given.has(addresses.get(record.seq) ?? ''),
    );
    return [
      ...shared.map(([code]) => `${code} reached two`),
      ...twice.map(([to]) => `${to} received two codes`),
      ...shownAndFree.map((record) => `record ${record.recordNo} frees a unit whose code had been sent`),
    ];
  }

  const play = (defect: string | null) =>
    on(defect, async (shop) => {
      const stock = { waitlistLimit: 24 };
      const campaign = await shop.seed({ id: 'revoked', members: 60, units, codes: 80, stock });
      // Sending takes a while, so that some are revoked before, some while and some after their mail is under way.
      await shop.tellMail({ delayMs: 150 });
      const crowd = new Crowd(shop, campaign.id, { connections: 16 });
      await shop.opened(campaign);
      let revoked = 0;
      const refused: string[] = [];
      const revoke = async (answer: KeptAnswer): Promise<void> => {
        const { seq = 0, verdict } = answer.body as { seq?: number; verdict: string };
        if (verdict !== 'won' || seq % 2 === 1) return;
        // Every third waits for its own mail: by then the voucher is shown.
        if (seq % 3 === 0)
          await until(`the mail of ${seq}`, () =>
            shop.mails().some(({ to }) => to === emailOf(answer.member)),
          );
        await shop.client
          .call('POST', `/v1/campaigns/${campaign.id}/revocations`, { body: { seq } })
          .catch((error: unknown) => refused.push(`revocation of ${seq}: ${(error as Error).message}`));
        revoked += 1;
      };
      await crowd.each(range(60), 16, async (member) => revoke(await crowd.insist(member)));
      // Lowest first, freed units go to the waitlist, then to whoever comes.
      await shop.client.call('POST', `/v1/campaigns/${campaign.id}/stock-changes`, {
        body: { capacity: 40 },
      });
      await shop.delivered(campaign);
      const { records, faults: broken } = await exportChain(shop, campaign.id);
      await until('nothing is on its way', async () => {
        const { json } = await shop.client.call('GET', `/v1/campaigns/${campaign.id}/delivery-summary`);
        const { due = 0, sending = 0 } = json.byState as Record<string, number>;
        return due + sending === 0;
      });
      const found = [...refused, ...faultsOf(records, shop.mails(), crowd.answers)];
      await crowd.close();
      return {
        revoked,
        records,
        found,
        broken: [...broken, ...crowd.faults, ...(defect === null ? await verified(shop) : [])],
      };
    });

  it('16: a voucher that reached its member is never given to another, one that did not is; nobody has two', async () => {
    const { revoked, records, found, broken } = await play(null);
    expect({ found, broken }).toEqual({ found: [], broken: [] });
    const endings = records.flatMap((record) => (record.type === 'REVOKED' ? [record.unitBecomes] : []));
    expect(endings).toHaveLength(revoked);
    expect(revoked).toBeGreaterThanOrEqual(units / 2);
    // Some were revoked with their voucher in hand.
    expect(endings).toContain('void');
  });

  it('control: a unit that is to become free although its voucher was sent is found: the ledger cannot store it', async () => {
    const { found } = await play('frees-what-was-shown');
    expect(found.join('\n')).toMatch(/Something is wrong inside/);
  });
});

describe('close against entry', () => {
  const play = (defect: string | null) =>
    on(defect, async (shop) => {
      const campaign = await shop.seed({ id: 'shut', members: 1_500, units: 1_500 });
      const crowd = new Crowd(shop, campaign.id, { connections: 64 });
      await shop.opened(campaign);
      const entering = crowd.each(range(1_500), 64, (member) => crowd.enter(member));
      await until('the first are in', () => crowd.answers.length > 200);
      await shop.client.call('POST', `/v1/campaigns/${campaign.id}/closures`, { body: {} });
      const closedAt = systemClock.now();
      await entering;
      const { records } = await exportChain(shop, campaign.id);
      const closed = records.find(({ type }) => type === 'CLOSED')?.recordNo ?? 0;
      const behind = records.filter(({ type, recordNo }) => type === 'ENTRY' && recordNo > closed);
      const after = crowd.answers.filter(({ status, sentAt }) => status === 201 && sentAt > closedAt);
      await crowd.close();
      return { closed, behind, after, statuses: crowd.statuses, faults: crowd.faults };
    });

  it('14: no entry behind CLOSED, and nobody who asks after its answer gets in', async () => {
    const { closed, behind, after, statuses, faults } = await play(null);
    expect(closed).toBeGreaterThan(200);
    expect({ behind, after, faults }).toEqual({ behind: [], after: [], faults: [] });
    expect(Object.keys(statuses).sort()).toEqual(['201', '410']);
  });

  it('control: a lane that lets in who waited while it was closed is found', async () => {
    const { behind } = await play('admits-behind-closed');
    expect(behind.length).toBeGreaterThan(0);
  });
});

describe('publish twice', () => {
  const copies = 12;
  const play = (defect: string | null) =>
    on(defect, async (shop) => {
      const at = '/v1/campaigns/published-twice';
      await shop.draft(
        {
          id: 'published-twice',
          members: 0,
          units: 2,
          codes: 2,
          definition: { eligibility: { audience: 'anyone' } },
        },
        systemClock.now() + 3_600_000,
      );
      const codes = Buffer.from('code\nDB-1\nDB-2\n');
      await shop.client.call('POST', `${at}/voucher-codes`, {
        raw: { contentType: 'text/csv', content: codes },
      });
      const key = shop.operatorKey;
      const statuses = await Promise.all(
        range(copies).map(async () => {
          const response = await fetch(`${shop.url}${at}/publications`, {
            method: 'POST',
            headers: { authorization: `Bearer ${key}` },
          });
          await response.text();
          return response.status;
        }),
      );
      const { records } = await exportChain(shop, 'published-twice');
      return {
        statuses: statuses.sort((a, b) => a - b),
        records,
        broken: defect === null ? await verified(shop) : [],
      };
    });

  it('1: of twelve at once one publishes, the others are refused, and the lane begins once', async () => {
    const { statuses, records, broken } = await play(null);
    expect(statuses).toEqual([200, ...Array.from({ length: copies - 1 }, () => 409)]);
    expect(records.map(({ type }) => type)).toEqual(['PUBLISHED']);
    expect(broken).toEqual([]);
  });

  it('control: without the look inside the transaction the others fail inside, and it is seen', async () => {
    const { statuses, records } = await play('publishes-again');
    expect(statuses).toContain(500);
    // Even so the second lane cannot be stored.
    expect(records.map(({ type }) => type)).toEqual(['PUBLISHED']);
  });
});
