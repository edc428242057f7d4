// Which test file begins first. Without durations of an earlier run, as on a clean checkout, vitest begins with the largest files; the files that only register the
// suite of an engine, or its planted defects, are among the smallest and take a minute or two, so they began last and one worker ended alone. Here
// what takes long begins first, the longest at the very first: what is left for the end is short, and the workers end together. Files that are not named keep
// vitest's order behind them.

import type { TestSpecification } from 'vitest/node';
import { BaseSequencer } from 'vitest/node';

/** Seconds with four workers on two cores, by the end of the path; a guess that is off costs the end of a run a little, nothing else. */
export const seconds: Readonly<Record<string, number>> = {
  'src/cli/mend.int.test.ts': 90,
  'src/engines/kafka/own-defects.int.test.ts': 147,
  'src/engines/kafka/own-broker.int.test.ts': 147,
  'src/engines/embedded/sharing/sharing.conformance.int.test.ts': 140,
  'src/engines/redis/engine.conformance.int.test.ts': 130,
  'src/engines/kafka/engine.conformance.int.test.ts': 125,
  'src/engines/rabbitmq/engine.conformance.int.test.ts': 124,
  'src/engines/rabbitmq/own-broker-controls.int.test.ts': 41,
  'scripts/messaging-package.int.test.ts': 110,
  'src/ledgers/sqlite/key-runs.int.test.ts': 106,
  'src/stores/outbox-takeover.int.test.ts': 100,
  'src/engines/redis-lists/engine.conformance.int.test.ts': 92,
  'src/engines/embedded/planted-defects.int.test.ts': 91,
  'src/locks/locks.int.test.ts': 90,
  'src/ledgers/sqlite/contract.int.test.ts': 89,
  'src/engines/embedded/engine.conformance.int.test.ts': 88,
  'src/engines/redis/planted-defects.int.test.ts': 82,
  'bench/bench.int.test.ts': 76,
  'src/ledgers/sqlite/crash.int.test.ts': 75,
  'src/engines/rabbitmq/cluster.int.test.ts': 100,
  'src/engines/kafka/cluster.int.test.ts': 73,
  'src/engines/embedded/undone-turn.int.test.ts': 69,
  'src/fulfilment/crashes.int.test.ts': 64,
  'bench/messaging/messaging.int.test.ts': 63,
  'src/engines/rabbitmq/planted-defects.int.test.ts': 58,
  'src/engines/kafka/compaction.int.test.ts': 52,
  'scripts/test-engines.int.test.ts': 51,
  'src/stores/outbox.int.test.ts': 47,
  'src/engines/rabbitmq/redrive.int.test.ts': 47,
  'src/sagas/saga-kill.int.test.ts': 43,
  'src/engines/kafka/engine.int.test.ts': 40,
  'examples/examples.int.test.ts': 40,
  'examples/snippets.int.test.ts': 40,
  'src/engines/rabbitmq/own-broker.int.test.ts': 40,
  'src/http/operator/access.int.test.ts': 38,
  'src/http/public/public.int.test.ts': 36,
  'src/engines/kafka/planted-defects.int.test.ts': 36,
  'src/admission/queued.int.test.ts': 34,
  'src/engines/redis/presence.int.test.ts': 30,
  'scripts/evidence.int.test.ts': 30,
  'scripts/services/services.int.test.ts': 30,
};

/** Of a suite that nobody has timed yet: a new engine's takes this at least. */
const ofUnknownSuite = 60;
const suite = /planted-defects|conformance\.int/;

const secondsOf = (path: string): number => {
  const known = Object.entries(seconds).find(([end]) => path.endsWith(`/${end}`) || path === end);
  return known?.[1] ?? (suite.test(path) ? ofUnknownSuite : 0);
};

/** Stable: those that nobody has timed stay in their order. */
export function longFirst<T>(files: readonly T[], pathOf: (file: T) => string): T[] {
  const times = new Map(files.map((file) => [file, secondsOf(pathOf(file))]));
  return files.toSorted((a, b) => (times.get(b) ?? 0) - (times.get(a) ?? 0));
}

export class LongFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return longFirst(await super.sort(files), ({ moduleId }) => moduleId);
  }
}
