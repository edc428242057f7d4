#!/usr/bin/env node
// The `doorbuster` command. It only finds a Node that can run the CLI and starts it there: from the sources inside
// the repository, from dist/ in the published package. The CLI itself is src/cli/main.ts.
//
// Published and on a fit Node it is loaded into this very process; otherwise one child runs it, its signals and its
// exit code passed through.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chooseNode, EXIT_CONFIGURATION, thisMachine } from './node-binary.mjs';
import { runToEnd } from './run-to-end.mjs';

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(packageFolder, 'src', 'cli', 'main.ts');
const built = join(packageFolder, 'dist', 'cli', 'main.js');
const inRepository = existsSync(source);

const choice = chooseNode({ ...thisMachine(), from: packageFolder });
if ('problem' in choice) {
  process.stderr.write(`${choice.problem}\n`);
  process.exitCode = EXIT_CONFIGURATION;
} else if (!inRepository && choice.binary === process.execPath) {
  await import(built);
} else {
  const entry = inRepository ? ['--conditions=doorbuster-source', source] : [built];
  process.exitCode = await runToEnd(choice.binary, [
    '--disable-warning=ExperimentalWarning',
    ...entry,
    ...process.argv.slice(2),
  ]);
}
