#!/usr/bin/env node
// The `doorbuster-bus` command of the published package. In a clone it is `npm run -s bus -- <command>`, which runs the sources.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const OLDEST_NODE = 24;
const EXIT_CONFIGURATION = 3;
const built = new URL('../dist/cli/main.js', import.meta.url);

/** @param {string} problem */
function refuse(problem) {
  process.stderr.write(`doorbuster-bus: ${problem}\n`);
  process.exitCode = EXIT_CONFIGURATION;
}

if (Number(process.versions.node.split('.', 1)[0]) < OLDEST_NODE)
  refuse(`Node ${process.versions.node} is too old: ${OLDEST_NODE} or later is needed.`);
else if (!existsSync(fileURLToPath(built)))
  refuse('this clone is not built: use `npm run -s bus -- <command>`, or `npm run build` first.');
else await import(built.href);
