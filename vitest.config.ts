// One configuration for all tests; the suffix of a file names its tier and with it how it is run:
//   *.unit.test.ts  pure and fast: threads, several files share a worker
//   *.int.test.ts   real SQLite, files, threads, processes: a process per file
//   *.e2e.test.ts   the whole server: a process per file, after the others; they wait more than they work
//
// Node imports the files itself (viteModuleRunner off), so a test runs exactly what production runs: type stripping, the
// `doorbuster-source` condition, worker threads by URL. The condition is given to workers as an argument and, through
// NODE_OPTIONS, to every process a test starts.
//
// In CI a test with processes or a browser that failed is run once more, because a machine that stood still for a second must not throw away a
// day's work; scripts/test.ts names each such test as flaky directly above its last line, with what it said. Simulation, chaos and the demo, which watch the promises, are never run again.

import { fileURLToPath } from 'node:url';
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';
import { LongFilesFirst } from './scripts/test-order.ts';

const root = fileURLToPath(new URL('.', import.meta.url));
const condition = '--conditions=doorbuster-source';
const quiet = '--disable-warning=ExperimentalWarning';

/**
 * What Node makes of a source file, kept for the next process: tests start thousands of processes, and each one stripped the types of a hundred files and
 * compiled them. By content and version of Node; a run of a whole tier begins with an empty folder (scripts/test.ts).
 */
const compiled = `${root}.cache/test-compiled`;

/** How often a failed test is run again. */
const again = process.env['CI'] ? 1 : 0;

/** Patterns between spaces, given by scripts/test.ts. */
const leftOut = (process.env['TESTS_LEFT_OUT'] ?? '').split(' ').filter((pattern) => pattern !== '');

type Tier = 'unit' | 'int' | 'e2e';

function project(
  tier: Tier,
  options: TestProjectInlineConfiguration['test'],
): TestProjectInlineConfiguration {
  return {
    root,
    resolve: { conditions: ['doorbuster-source'] },
    ssr: { resolve: { conditions: ['doorbuster-source'] } },
    test: {
      name: tier,
      include: [`{packages/*,scripts,simulation,chaos,bench,examples}/**/*.${tier}.test.ts`],
      exclude: ['**/node_modules/**', '**/dist/**', ...leftOut],
      environment: 'node',
      experimental: { viteModuleRunner: false },
      execArgv: [condition, quiet],
      env: { NODE_OPTIONS: `${condition} ${quiet}`, NODE_COMPILE_CACHE: compiled },
      ...options,
    },
  };
}

export default defineConfig({
  test: {
    // Most int tests wait for a server, a lease or a process: three workers left two cores at a load of 2.8.
    maxWorkers: 4,
    teardownTimeout: 30_000,
    sequence: { sequencer: LongFilesFirst },
    // Cases of a table are named by sentences; one that is cut after forty letters names nothing in a report.
    taskTitleValueFormatTruncate: 0,
    projects: [
      project('unit', { pool: 'threads', isolate: false, testTimeout: 10_000, hookTimeout: 10_000 }),
      project('int', { pool: 'forks', testTimeout: 60_000, hookTimeout: 60_000, retry: again }),
      project('e2e', {
        pool: 'forks',
        testTimeout: 180_000,
        hookTimeout: 120_000,
        retry: again,
        maxWorkers: 2,
        sequence: { groupOrder: 1 },
      }),
    ],
  },
});
