/**
 * What a scrape reads of admission and campaigns: remaining units, queues, deliveries by state. Asked at the scrape only, and counted in the
 * ledger at most every few seconds, because anyone who reaches the port may scrape as often as he likes.
 */
import type { LaneState } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import type { RunningAdmission } from '../admission/create-admission.ts';
import type { EntryQueue } from '../admission/queued.ts';
import type { TokenChecks } from '../http/auth/tokens.ts';
import type { DeliveryLedger } from '../ledger.ts';
import type { CampaignBook } from './campaign-book.ts';
import type { GaugeReading, Metrics } from './metrics.ts';

export interface GaugeSources {
  readonly campaigns: CampaignBook;
  readonly admission: RunningAdmission;
  readonly queue: EntryQueue;
  readonly tokens: TokenChecks;
  readonly deliveries: Pick<DeliveryLedger, 'summary'>;
  /** Campaigns whose lane is halted for a person. */
  readonly halted: () => readonly string[];
  readonly clock: Clock;
}

/** A scrape must not grow with history: what is left out beyond these is closed, as long as there is anything closed. */
const mostCampaigns = 50;
const recountAfterMs = 5_000;

export function addCampaignGauges(
  metrics: Metrics,
  { campaigns, admission, queue, tokens, deliveries, halted, clock }: GaugeSources,
): void {
  const lanes = () => shown(campaigns.lanes());
  const byState = atMostEvery(recountAfterMs, clock, () => countDeliveries(lanes(), deliveries));
  metrics.gauge('doorbuster_units_free', 'Units that the next entries can win.', ['campaign'], () =>
    lanes().map((lane) => ({ labels: { campaign: lane.campaign }, value: lane.free })),
  );
  metrics.gauge('doorbuster_entries', 'Entries of a campaign.', ['campaign'], () =>
    lanes().map((lane) => ({ labels: { campaign: lane.campaign }, value: lane.seq })),
  );
  metrics.gauge(
    'doorbuster_entries_waiting',
    'Entries in the buffer in front of the ledger.',
    ['campaign'],
    () => [...admission.waiting()].map(([campaign, value]) => ({ labels: { campaign }, value })),
  );
  metrics.gauge('doorbuster_entry_queue', 'Queued intake: entries stored and not settled.', [], async () => [
    { labels: {}, value: await queue.backlog() },
  ]);
  metrics.gauge('doorbuster_token_checks_waiting', 'Member tokens that wait to be checked.', [], () => [
    { labels: {}, value: tokens.waiting() },
  ]);
  metrics.gauge(
    'doorbuster_lane_halted',
    'Lanes that wait for a person: the ledger shows less than was witnessed.',
    ['campaign'],
    () => halted().map((campaign) => ({ labels: { campaign }, value: 1 })),
  );
  metrics.gauge('doorbuster_deliveries', 'Deliveries by state.', ['campaign', 'state'], byState);
}

/** The newest, those that are not closed before those that are. */
function shown(lanes: Iterable<LaneState>): readonly LaneState[] {
  const newestFirst = [...lanes].reverse();
  const closed = newestFirst.filter(({ phase }) => phase === 'closed');
  return [...newestFirst.filter(({ phase }) => phase !== 'closed'), ...closed].slice(0, mostCampaigns);
}

async function countDeliveries(
  lanes: readonly LaneState[],
  deliveries: GaugeSources['deliveries'],
): Promise<readonly GaugeReading[]> {
  const readings: GaugeReading[] = [];
  for (const { campaign } of lanes) {
    const { byState } = await deliveries.summary(campaign);
    for (const [state, value] of Object.entries(byState))
      readings.push({ labels: { campaign, state }, value });
  }
  return readings;
}

/** The last reading while it is young, or the one under way. A failed one is not kept. */
function atMostEvery<T>(everyMs: number, clock: Clock, read: () => Promise<T>): () => Promise<T> {
  let kept: Promise<T> | null = null;
  let until = 0;
  return () => {
    if (kept === null || clock.monotonic() >= until) {
      const reading = read();
      kept = reading;
      until = clock.monotonic() + everyMs;
      reading.catch(() => {
        if (kept === reading) kept = null;
      });
    }
    return kept;
  };
}
