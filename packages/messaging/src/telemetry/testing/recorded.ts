/** For tests: what the real SDK of OpenTelemetry records, kept in memory. */
import { context, propagation } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { eventually } from '../../conformance/fixture.ts';

/** Spans of the tests of this file, each test with none to begin with; what is active goes through promises, as in an application. */
export function useSpans() {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  beforeAll(() => context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable()));
  afterAll(() => {
    context.disable();
    propagation.disable();
  });
  beforeEach(() => exporter.reset());
  const all = (): ReadableSpan[] => exporter.getFinishedSpans();
  const spans = (name: string): ReadableSpan[] => all().filter((span) => span.name === name);
  return {
    tracer: provider.getTracer('test'),
    all,
    spans,
    spansOnceThere: (name: string, count = 1): Promise<ReadableSpan[]> =>
      eventually(
        async () => spans(name),
        (found) => found.length >= count,
        `${count} spans "${name}"`,
      ),
  };
}

/** A meter whose readings are taken when they are asked for, and at no other time. */
export function recordedMetrics() {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  return {
    meter: provider.getMeter('test'),
    /** Takes them now; of earlier takes too. */
    async take(): Promise<readonly MetricData[]> {
      await provider.forceFlush();
      return exporter
        .getMetrics()
        .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics));
    },
    end: (): Promise<void> => provider.shutdown(),
  };
}

export const idOf = (span: ReadableSpan | undefined): string | undefined => span?.spanContext().spanId;

export const linkedTo = (span: ReadableSpan | undefined): (string | undefined)[] =>
  (span?.links ?? []).map((link) => link.context.spanId);
