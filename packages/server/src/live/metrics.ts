/**
 * Counters and durations of this process, in a Prometheus registry of its own. Labels are bounded: routes by their pattern, verdicts by
 * name. What is merely read (remaining, queue depth, deliveries) is a gauge that asks at the scrape and costs nothing in between.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from '@prometheus-io/client';

export interface GaugeReading {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metrics {
  /** One answered request; `ms` from the first byte to the last. */
  request(route: string, method: string, status: number, ms: number): void;
  verdict(verdict: string, repeated: boolean): void;
  /** One batch of admission that came back: its size, and the ms from sending it to its commit. */
  batch(size: number, ms: number): void;
  /** Something was shed; the reason is a word of ours. */
  shed(reason: string): void;
  /** A gauge read at every scrape. */
  gauge(
    name: string,
    help: string,
    labels: readonly string[],
    read: () => readonly GaugeReading[] | Promise<readonly GaugeReading[]>,
  ): void;
  /** A counter for another room; the returned function adds one. */
  counter(
    name: string,
    help: string,
    labels: readonly string[],
  ): (labels: Readonly<Record<string, string>>, by?: number) => void;
  expose(): Promise<{ readonly contentType: string; readonly body: string }>;
}

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const sizeBuckets = [1, 4, 16, 64, 128, 256, 512];

/** `processMetrics` adds those of Node itself (memory, event loop, collection); it starts timers, so tests leave it out. */
export function createMetrics(options: { readonly processMetrics?: boolean } = {}): Metrics {
  const registry = new Registry();
  const registers = [registry];
  if (options.processMetrics) collectDefaultMetrics({ register: registry });
  const requests = new Histogram({
    name: 'doorbuster_http_request_seconds',
    help: 'Time from the first byte of a request to the last of its answer.',
    labelNames: ['route', 'method', 'status'],
    buckets: secondsBuckets,
    registers,
  });
  const verdicts = new Counter({
    name: 'doorbuster_verdicts_total',
    help: 'Entries answered, by verdict.',
    labelNames: ['verdict', 'repeated'],
    registers,
  });
  const shed = new Counter({
    name: 'doorbuster_shed_total',
    help: 'Requests refused for now, by reason.',
    labelNames: ['reason'],
    registers,
  });
  const sizes = new Histogram({
    name: 'doorbuster_batch_entries',
    help: 'Entries per batch of admission.',
    buckets: sizeBuckets,
    registers,
  });
  const commits = new Histogram({
    name: 'doorbuster_batch_seconds',
    help: 'Time from sending a batch to its commit.',
    buckets: secondsBuckets,
    registers,
  });
  return {
    request: (route, method, status, ms) =>
      requests.observe({ route, method, status: String(status) }, ms / 1000),
    verdict: (verdict, repeated) => verdicts.inc({ verdict, repeated: repeated ? 'true' : 'false' }),
    batch(size, ms) {
      sizes.observe(size);
      commits.observe(ms / 1000);
    },
    shed: (reason) => shed.inc({ reason }),
    gauge(name, help, labelNames, read) {
      // A second application over the same metrics reads its own.
      registry.removeSingleMetric(name);
      new Gauge({
        name,
        help,
        labelNames: [...labelNames],
        registers,
        async collect() {
          this.reset();
          for (const { labels, value } of await read()) this.set(labels, value);
        },
      });
    },
    counter(name, help, labelNames) {
      const counter = new Counter({ name, help, labelNames: [...labelNames], registers });
      return (labels, by = 1) => counter.inc(labels, by);
    },
    expose: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}
