import { createManualClock } from '@doorbuster/messaging/conformance';
import { expect, it } from 'vitest';
import { addCampaignGauges, type GaugeSources } from './campaign-gauges.ts';
import { createMetrics } from './metrics.ts';

function rig(phases: Readonly<Record<string, string>>) {
  const clock = createManualClock();
  const metrics = createMetrics();
  const counted: string[] = [];
  let fails = false;
  const lanes = Object.entries(phases).map(([campaign, phase]) => ({ campaign, phase, free: 1, seq: 2 }));
  addCampaignGauges(metrics, {
    campaigns: { lanes: () => lanes },
    admission: { waiting: () => [] },
    queue: { backlog: async () => 0 },
    tokens: { waiting: () => 0 },
    deliveries: {
      async summary(campaign: string) {
        counted.push(campaign);
        if (fails) throw new Error('the ledger is out of reach');
        return { byState: { due: 3 }, byError: [] };
      },
    },
    halted: () => ['c0'],
    clock,
  } as unknown as GaugeSources);
  const scrape = async () => (await metrics.expose()).body;
  return { clock, counted, scrape, fail: (now: boolean) => void (fails = now) };
}

it('shows a campaign that is open before any that is closed, and no more than fifty', async () => {
  const closed = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`closed-${i}`, 'closed']));
  const { scrape, counted } = rig({ first: 'open', ...closed });
  const body = await scrape();
  expect(body).toContain('doorbuster_units_free{campaign="first"} 1');
  expect(body).toContain('doorbuster_deliveries{campaign="first",state="due"} 3');
  expect(body).not.toContain('campaign="closed-10"');
  expect(body).toContain('campaign="closed-59"');
  expect(counted).toHaveLength(50);
});

it('counts deliveries once for scrapes at the same time and for those that follow closely', async () => {
  const { scrape, counted, clock } = rig({ spring: 'open' });
  await Promise.all([scrape(), scrape()]);
  clock.advance(4_999);
  expect(await scrape()).toContain('doorbuster_deliveries{campaign="spring",state="due"} 3');
  expect(counted).toHaveLength(1);
  clock.advance(1);
  await scrape();
  expect(counted).toHaveLength(2);
});

it('counts again after a count that failed', async () => {
  const { scrape, fail } = rig({ spring: 'open' });
  fail(true);
  await expect(scrape()).rejects.toThrow('out of reach');
  fail(false);
  expect(await scrape()).toContain('doorbuster_deliveries{campaign="spring",state="due"} 3');
});

it('shows a halted lane', async () => {
  const { scrape } = rig({ c0: 'open' });
  expect(await scrape()).toContain('doorbuster_lane_halted{campaign="c0"} 1');
});
