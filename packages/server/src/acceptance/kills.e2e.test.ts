// Rows 6, 7, 10, 11, 20, 32, 33: SIGKILL of the whole server while a crowd is admitted, again and again, and a start on the same data.
import { expect, it } from 'vitest';
import { seededRandom } from '../cli/demo/random.ts';
import { Crowd, range, shuffled } from './testing/crowd.ts';
import { Installation, type SeededCampaign } from './testing/installation.ts';
import { gather, judge, verified } from './testing/judge.ts';
import { until } from './testing/process.ts';

interface Plan {
  readonly intake: 'direct' | 'queued';
  readonly members: number;
  readonly units: number;
  readonly kills: number;
  readonly seed: number;
}

/** Kills after a number of further answers that the seed draws, so always while requests are under way. */
async function killWhileAdmitting(
  shop: Installation,
  crowd: Crowd,
  { kills, members, seed }: Plan,
): Promise<void> {
  const random = seededRandom(seed);
  const stride = members / (kills + 1);
  let after = 0;
  for (let kill = 0; kill < kills; kill += 1) {
    after = crowd.answers.length + Math.ceil(stride * (0.3 + 0.6 * random()));
    await until('further answers', () => crowd.answers.length >= after);
    await shop.kill();
    await shop.startServer();
  }
}

/** The crowd, the kills, then everything that a member or the shop does afterwards. */
async function play(shop: Installation, plan: Plan): Promise<{ crowd: Crowd; campaign: SeededCampaign }> {
  const { members, units, intake } = plan;
  const campaign = await shop.seed({
    id: `killed-${intake}`,
    members,
    units,
    intake,
    stock: { waitlistLimit: 50 },
  });
  const crowd = new Crowd(shop, campaign.id, { connections: 32 });
  await shop.opened(campaign);
  const order = shuffled(members, seededRandom(plan.seed + 1));
  await Promise.all([
    crowd.each(order, 32, (member) => crowd.insist(member)),
    killWhileAdmitting(shop, crowd, plan),
  ]);
  if (intake === 'queued') await crowd.each(range(members), 32, (member) => crowd.learn(member));
  return { crowd, campaign };
}

const plans: readonly Plan[] = [
  { intake: 'direct', members: 1_600, units: 400, kills: 3, seed: 6 },
  { intake: 'queued', members: 1_000, units: 300, kills: 3, seed: 32 },
];

for (const plan of plans)
  it(`6, 7, 10, 11, 20, 32, 33: ${plan.intake} intake, killed ${plan.kills} times: nothing acknowledged is lost, no yes without a unit`, async () => {
    const shop = await Installation.start();
    try {
      const { crowd, campaign } = await play(shop, plan);
      expect(crowd.unanswered).toBeGreaterThan(0);
      // Everybody comes once more: the answer given is the answer for ever.
      await crowd.each(range(plan.members), 32, (member) => crowd.insist(member));
      if (plan.intake === 'queued')
        await crowd.each(range(plan.members), 32, (member) => crowd.learn(member));
      await shop.delivered(campaign);
      const { faults, lane, audit } = judge(await gather(shop, campaign, crowd.answers));
      expect([...faults, ...crowd.faults, ...(await verified(shop))]).toEqual([]);
      expect(lane).toMatchObject({ issued: plan.units, free: 0, waiting: 50, seq: plan.units + 50 });
      expect(audit.delivered).toBe(plan.units);
      await crowd.close();
    } finally {
      await shop.stop();
    }
  }, 100_000);

it('6: SIGTERM in the middle of a crowd ends with 0 and drops nobody who was answered', async () => {
  const shop = await Installation.start();
  try {
    const campaign = await shop.seed({ id: 'drained', members: 600, units: 300 });
    const crowd = new Crowd(shop, campaign.id, { connections: 32 });
    await shop.opened(campaign);
    const entering = crowd.each(range(600), 32, (member) => crowd.insist(member));
    await until('the first answers', () => crowd.answers.length > 100);
    expect(await shop.drain()).toBe(0);
    await shop.startServer();
    await entering;
    await shop.delivered(campaign);
    const { faults, lane } = judge(await gather(shop, campaign, crowd.answers));
    expect([...faults, ...crowd.faults]).toEqual([]);
    expect(lane).toMatchObject({ issued: 300, seq: 300 });
    await crowd.close();
  } finally {
    await shop.stop();
  }
});

it('control: an acknowledgement before the commit is found by the same kill', async () => {
  const shop = await Installation.start({ defect: 'acknowledge-early' });
  try {
    const campaign = await shop.seed({ id: 'defect', members: 50, units: 100 });
    const crowd = new Crowd(shop, campaign.id);
    await shop.opened(campaign);
    await Promise.all(range(50).map((member) => crowd.enter(member)));
    await shop.kill();
    await shop.startServer();
    const { faults, audit } = judge(await gather(shop, campaign, crowd.answers));
    expect(audit.acknowledgedLost).toBe(50);
    expect(faults.join('\n')).toMatch(/no such record/);
    await crowd.close();
  } finally {
    await shop.stop();
  }
});

it('control: a 202 that does not wait for the queue is found by the same kill', async () => {
  const shop = await Installation.start({ defect: 'pending-before-published' });
  try {
    const campaign = await shop.seed({ id: 'defect', members: 20, units: 100, intake: 'queued' });
    const crowd = new Crowd(shop, campaign.id);
    await shop.opened(campaign);
    await Promise.all(range(20).map((member) => crowd.enter(member)));
    await shop.kill();
    await shop.startServer();
    await Promise.all(range(20).map((member) => crowd.learn(member, 10_000)));
    const { faults } = judge(await gather(shop, campaign, crowd.answers));
    expect(faults.filter((fault) => fault.includes('told pending and nothing after'))).toHaveLength(20);
    await crowd.close();
  } finally {
    await shop.stop();
  }
});
