// Rows 9, 12, 17, 23: far more than it can take. What is refused is told so and decided nothing; what is taken is kept; recovery needs no hand.
import { expect, it } from 'vitest';
import { systemClock } from '@doorbuster/messaging';
import { Crowd, range } from './testing/crowd.ts';
import { Installation } from './testing/installation.ts';
import { gather, judge, verified } from './testing/judge.ts';
import { until } from './testing/process.ts';
import { storm } from './testing/siege.ts';

const stormMs = 4_000;
/** A busy machine takes longer until a third is in; a room that serves nobody never gets there. */
const longestStormMs = 60_000;
/** A place for few: what waits beyond it is refused. */
const tight = { limits: { waitingEntries: 16, memberPerSecond: 5, memberBurst: 10 } };

it('9, 12, 23: a storm of retries that honours nothing: only verdicts, 503 and 429 with Retry-After; goodput holds; then it recovers by itself', async () => {
  const shop = await Installation.start({ config: tight });
  try {
    const members = 1_500;
    const campaign = await shop.seed({ id: 'storm', members: members + 200, units: members + 100 });
    const crowd = new Crowd(shop, campaign.id, { connections: 512 });
    await shop.opened(campaign);
    const began = systemClock.monotonic();
    const goesOn = (): boolean => {
      const ms = systemClock.monotonic() - began;
      return ms < stormMs || (ms < longestStormMs && (crowd.statuses['201'] ?? 0) <= members / 3);
    };
    // Many connections for each place in the buffer; every one of them comes back at once, whatever it is told.
    await storm(crowd, { members, connections: 512, goesOn });
    const { 201: taken = 0, 503: full = 0, 429: limited = 0 } = crowd.statuses;
    expect(
      Object.keys(crowd.statuses).every((status) => ['200', '201', '410', '429', '503'].includes(status)),
    ).toBe(true);
    expect(full + limited).toBeGreaterThan(100);
    // Goodput: whoever is refused comes back, and while the storm lasts members go on being taken.
    expect(taken).toBeGreaterThan(members / 3);
    // Afterwards, without a hand: newcomers are served on their first try, and fast.
    const calm = new Crowd(shop, campaign.id, { connections: 4 });
    await calm.insist(members);
    const first = calm.answers.length;
    for (const member of range(49)) expect((await calm.enter(members + 1 + member))?.status).toBe(201);
    const slowest = Math.max(
      ...calm.answers.slice(first).map(({ sentAt, answeredAt }) => answeredAt - sentAt),
    );
    // A storm that lasts after its cause is minutes long; a busy machine costs a second or two.
    expect(slowest).toBeLessThan(15_000);
    await crowd.each(range(members), 8, (member) => crowd.insist(member));
    await shop.delivered(campaign);
    const { faults, lane } = judge(await gather(shop, campaign, [...crowd.answers, ...calm.answers]));
    expect([...faults, ...crowd.faults, ...calm.faults, ...(await verified(shop))]).toEqual([]);
    expect(lane.issued).toBe(members + 50);
    await crowd.close();
    await calm.close();
  } finally {
    await shop.stop();
  }
});

it('9: the refusals are counted, and what was counted as refused is not in the records; control of 34: with one waiting place units stay unsold while there are takers', async () => {
  const shop = await Installation.start({ config: { limits: { waitingEntries: 1 } } });
  try {
    const campaign = await shop.seed({ id: 'counted', members: 400, units: 400 });
    const crowd = new Crowd(shop, campaign.id, { connections: 200 });
    await shop.opened(campaign);
    await Promise.all(range(400).map((member) => crowd.enter(member)));
    const refused = crowd.statuses['503'] ?? 0;
    expect(refused).toBeGreaterThan(0);
    expect(crowd.statuses['201']).toBe(400 - refused);
    const { entries, free } = await shop.lane(campaign.id);
    expect(entries).toBe(400 - refused);
    expect(free).toBe(refused);
    const metrics = await (await fetch(`${shop.url}/metrics`)).text();
    const shed = [...metrics.matchAll(/^doorbuster_shed_total\{[^}]*\} (\d+)/gm)];
    expect(shed.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(refused);
    await crowd.close();
  } finally {
    await shop.stop();
  }
});

/** Half of the members take a place, hang up and never ask again; the others come right behind them. What went wrong for these. */
async function delayedByTheAbsent(defect?: string): Promise<readonly string[]> {
  const shop = await Installation.start(defect === undefined ? {} : { defect });
  try {
    const campaign = await shop.seed({ id: 'absent', members: 60, units: 60 });
    const crowd = new Crowd(shop, campaign.id, { patienceMs: 3_000 });
    await shop.opened(campaign);
    await Promise.all(range(30).map((member) => crowd.hangUp(member)));
    await Promise.all(range(30).map((member) => crowd.enter(30 + member)));
    // Who hung up was really there: a member who never came would delay nobody either.
    if (crowd.faults.length === 0)
      await until('who hung up is in', async () => (await shop.lane(campaign.id)).entries === 60, 10_000);
    await crowd.close();
    return [
      ...crowd.faults,
      ...(crowd.statuses['201'] === 30 ? [] : [`answers: ${JSON.stringify(crowd.statuses)}`]),
    ];
  } finally {
    await shop.stop();
  }
}

it('17: a member who takes a place and never comes back delays nobody', async () => {
  expect(await delayedByTheAbsent()).toEqual([]);
});

it('control: a room that waits until the one before has taken the answer stands still behind who hung up', async () => {
  expect((await delayedByTheAbsent('waits-for-the-absent')).join('\n')).toMatch(
    /waited 3000 ms without an answer/,
  );
});

it('control: a buffer that drops in silence is found: members who wait without an answer', async () => {
  const shop = await Installation.start({
    config: { limits: { waitingEntries: 1 } },
    defect: 'drops-in-silence',
  });
  try {
    const campaign = await shop.seed({ id: 'defect', members: 200, units: 200 });
    const crowd = new Crowd(shop, campaign.id, { connections: 200, patienceMs: 3_000 });
    await shop.opened(campaign);
    await Promise.all(range(200).map((member) => crowd.enter(member)));
    expect(crowd.faults.join('\n')).toMatch(/waited 3000 ms without an answer/);
    await crowd.close();
  } finally {
    await shop.stop();
  }
});
