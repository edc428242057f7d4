// Where every `npm run` of this repository starts: installs what is missing, finds a fit Node, runs the program of the
// verb there from its TypeScript source. Plain JavaScript on built-ins, because it is read by whatever Node the machine
// has (20 and later).
//
//   node scripts/run.mjs <verb> [arguments of the program]
//
// Its own messages go to stderr: stdout belongs to the program. Exit codes: the program's; 2 for an unknown verb; 3 when
// the machine has no fit Node; 1 when the packages cannot be installed.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chooseNode, EXIT_CONFIGURATION, thisMachine } from '../packages/server/bin/node-binary.mjs';
import { runToEnd } from '../packages/server/bin/run-to-end.mjs';
import { ensureInstalled } from './install.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const COMMAND_LINE = 'packages/server/src/cli/main.ts';

/**
 * What each verb runs. `development` says whether it needs the tools too or only what the product runs on.
 * @type {Record<string, { program: string, args: string[], development: boolean }>}
 */
const VERBS = {
  demo: { program: COMMAND_LINE, args: ['demo'], development: false },
  cli: { program: COMMAND_LINE, args: [], development: false },
  bus: { program: 'packages/messaging/src/cli/main.ts', args: [], development: false },
  test: { program: 'scripts/test.ts', args: [], development: true },
  check: { program: 'scripts/check.ts', args: [], development: true },
  build: { program: 'scripts/build.ts', args: [], development: true },
  gen: { program: 'scripts/gen.ts', args: [], development: true },
  evidence: { program: 'scripts/evidence.ts', args: [], development: true },
  screenshots: { program: 'scripts/screenshots.ts', args: [], development: true },
  simulate: { program: 'simulation/main.ts', args: [], development: true },
  soak: { program: 'chaos/messaging/main.ts', args: [], development: true },
  chaos: { program: 'chaos/main.ts', args: [], development: true },
  abuse: { program: 'scripts/abuse.ts', args: [], development: true },
  fuzz: { program: 'scripts/fuzz.ts', args: [], development: true },
  bench: { program: 'bench/main.ts', args: [], development: true },
  'bench:messaging': { program: 'bench/messaging/main.ts', args: [], development: true },
  'test:engines': { program: 'scripts/test-engines.ts', args: [], development: true },
  services: { program: 'scripts/services/main.ts', args: [], development: true },
};

/**
 * @param {string[]} argv
 * @returns {Promise<number>} the exit code
 */
async function run([name = '', ...rest]) {
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (!verb) return fail(2, `unknown verb "${name}": one of ${Object.keys(VERBS).join(', ')}`);
  if (process.platform === 'win32')
    return fail(EXIT_CONFIGURATION, 'Windows is supported through WSL: run this inside it.');
  const program = join(root, verb.program);
  if (!existsSync(program))
    return fail(2, `"${name}" is not part of this version: ${verb.program} does not exist.`);

  const problem = await ensureInstalled(root, verb);
  if (problem) return fail(1, problem);
  const choice = chooseNode({ ...thisMachine(), from: root });
  if ('problem' in choice) return fail(EXIT_CONFIGURATION, choice.problem);
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  endWithNpm();
  // The command line reads from the channel that this process is gone, if it is killed without a word.
  const watched = verb.program === COMMAND_LINE;
  return runToEnd(choice.binary, [...flags, program, ...verb.args, ...rest], {
    stdio: watched ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit',
  });
}

const LOOK_MS = 500;

/**
 * npm passes SIGTERM on to its shell, and the shell dies of it without a word to this process: whose parent is gone has
 * been told to end. Only where npm's shell is the parent; what was started by hand in the background goes on.
 */
function endWithNpm() {
  if (!process.env.npm_lifecycle_script?.includes('scripts/run.mjs')) return;
  const parent = process.ppid;
  const look = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(look);
    process.kill(process.pid, 'SIGTERM');
  }, LOOK_MS).unref();
}

/**
 * @param {number} code
 * @param {string} message
 */
function fail(code, message) {
  process.stderr.write(`${message}\n`);
  return code;
}

process.exitCode = await run(process.argv.slice(2));
