#!/usr/bin/env node
// The `doorbuster-bus` command of the published package. In a clone it is `npm run -s bus -- <command>`, which runs the sources.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const OLDEST_NODE = 24;
const EXIT_CONFIGURATION = 3;
const built = new URL('../dist/cli/main.js', import.meta.url);

/**
 * As `dist/cli/run.js` tells a failure, which this Node may not be able to load.
 * @param {string} problem
 * @param {string} remedy
 */
function refuse(problem, remedy) {
  process.exitCode = EXIT_CONFIGURATION;
  if (process.argv.includes('--json')) {
    const failure = { error: problem, code: 'CLI', remedy, exitCode: EXIT_CONFIGURATION };
    process.stdout.write(`${JSON.stringify(failure)}\n`);
  } else process.stderr.write(`doorbuster-bus: ${problem}\n${remedy}\n`);
}

if (Number(process.versions.node.split('.', 1)[0]) < OLDEST_NODE)
  refuse(`Node ${process.versions.node} is too old`, `Run it with Node ${OLDEST_NODE} or later.`);
else if (!existsSync(fileURLToPath(built)))
  refuse('this clone is not built', 'Use `npm run -s bus -- <command>`, or `npm run build` first.');
else await import(built.href);
