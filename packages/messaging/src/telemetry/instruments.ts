/**
 * The metrics: those of the conventions under their names, and what they do not have (retries, dead letters, lost leases, backlog) under
 * `doorbuster.messaging.`. Backlog is read from the engine when the meter collects, once for all gauges; several processes
 * of one store report the same, so take the maximum of them and not the sum.
 */
import type {
  Attributes,
  BatchObservableResult,
  Counter,
  Histogram,
  Meter,
  ObservableGauge,
} from '@opentelemetry/api';
import type { EngineView, SubscriptionView } from '../engine.ts';
import type { ConsumingPlace } from '../telemetry.ts';

export interface Instruments {
  readonly meter: Meter;
  readonly sent: Counter;
  readonly consumed: Counter;
  readonly operating: Histogram;
  readonly processing: Histogram;
  readonly retries: Counter;
  readonly deadLetters: Counter;
  readonly lost: Counter;
  readonly backlog: readonly Backlog[];
}

interface Backlog {
  readonly gauge: ObservableGauge;
  readonly read: (view: SubscriptionView) => number | undefined;
}

/** Seconds, as the conventions advise. */
const BOUNDARIES = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const MESSAGES = '{message}';

export function createInstruments(meter: Meter): Instruments {
  const counter = (name: string, description: string): Counter =>
    meter.createCounter(name, { unit: MESSAGES, description });
  const duration = (name: string, description: string): Histogram =>
    meter.createHistogram(name, {
      unit: 's',
      description,
      advice: { explicitBucketBoundaries: BOUNDARIES },
    });
  return {
    meter,
    sent: counter('messaging.client.sent.messages', 'Messages the bus attempted to send.'),
    consumed: counter('messaging.client.consumed.messages', 'Messages handed to a handler.'),
    operating: duration('messaging.client.operation.duration', 'Duration of a send or a settlement.'),
    processing: duration('messaging.process.duration', 'Duration of a call of a handler.'),
    retries: counter('doorbuster.messaging.retries', 'Failed attempts that are followed by another.'),
    deadLetters: counter('doorbuster.messaging.dead_letters', 'Messages parked as dead letters.'),
    lost: counter(
      'doorbuster.messaging.lost_settlements',
      'Settlements that came after their lease had ended.',
    ),
    backlog: backlogOf(meter),
  };
}

function backlogOf(meter: Meter): readonly Backlog[] {
  const gauge = (
    name: string,
    unit: string,
    description: string,
    read: (view: SubscriptionView) => number | undefined,
  ): Backlog => ({
    gauge: meter.createObservableGauge(`doorbuster.messaging.subscription.${name}`, { unit, description }),
    read,
  });
  return [
    gauge('ready', MESSAGES, 'Waiting for a handler.', (view) => view.ready),
    gauge('delayed', MESSAGES, 'Waiting for a time.', (view) => view.delayed),
    gauge('in_flight', MESSAGES, 'Handed out and not settled.', (view) => view.inFlight),
    gauge('oldest_age', 's', 'Age of the oldest message that is not settled.', oldestAge),
    gauge('parked', MESSAGES, 'Dead letters.', (view) =>
      view.deadLetters.reduce((sum, { count }) => sum + count, 0),
    ),
  ];
}

/** 0 when there is none; no value where the engine cannot tell, because a 0 would keep an alert quiet. */
function oldestAge({ oldestAgeMs, partial }: SubscriptionView): number | undefined {
  if (oldestAgeMs !== undefined) return oldestAgeMs / 1_000;
  return partial?.includes('oldestAgeMs') ? undefined : 0;
}

/** Until the returned function is called. An engine that cannot be asked just now is no fault of the collection: there is no value then. */
export function watchBacklog(
  { meter, backlog }: Instruments,
  attributesOf: (place: ConsumingPlace) => Attributes,
  view: () => Promise<EngineView | undefined>,
): () => void {
  const observe = async (result: BatchObservableResult): Promise<void> => {
    const found = await view().catch(() => undefined);
    for (const { name: channel, subscriptions } of found?.channels ?? [])
      for (const subscription of subscriptions)
        report(result, backlog, subscription, attributesOf({ channel, subscription: subscription.name }));
  };
  const gauges = backlog.map(({ gauge }) => gauge);
  meter.addBatchObservableCallback(observe, gauges);
  return () => meter.removeBatchObservableCallback(observe, gauges);
}

function report(
  result: BatchObservableResult,
  backlog: readonly Backlog[],
  view: SubscriptionView,
  attributes: Attributes,
): void {
  for (const { gauge, read } of backlog) {
    const value = read(view);
    if (value !== undefined) result.observe(gauge, value, attributes);
  }
}
