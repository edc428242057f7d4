/**
 * The command tree of `doorbuster`. Each command is a file of its own that registers itself; the reference page of the docs is generated from
 * this tree, so what is not declared here does not exist.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { registerApiKey } from './api-key.ts';
import { registerBackup } from './backup.ts';
import { registerCampaign } from './campaign.ts';
import { registerDelivery } from './delivery.ts';
import { registerDemo } from './demo/command.ts';
import { registerDoctor } from './doctor.ts';
import { registerMember } from './member.ts';
import { registerPage } from './page.ts';
import { registerRehearse } from './rehearse.ts';
import { registerSecrets } from './secrets.ts';
import { registerServe } from './serve.ts';
import { registerToken } from './token.ts';
import { registerVerify } from './verify.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

export function createProgram(env: NodeJS.ProcessEnv): Command {
  const program = new Command('doorbuster')
    .description(
      'Runs limited-quantity, first-come-first-served campaigns: never one too many, no acknowledged entry lost, nobody served twice.',
    )
    .version(version, '--version', 'print the version')
    .option('--json', 'print data as JSON on stdout')
    .option('-q, --quiet', 'no messages and no progress: data, warnings and errors only')
    .option('--no-input', 'never ask; fail where an answer is needed')
    .option('--data <dir>', 'data directory (DOORBUSTER_DATA, default ./data)')
    .option('--config <file>', 'configuration file, YAML (DOORBUSTER_CONFIG)')
    .addOption(
      new Option(
        '--url <url>',
        'address of the server (DOORBUSTER_URL; default: the one of the data directory)',
      ),
    )
    .addOption(
      new Option(
        '--api-key <key>',
        'operator API key (DOORBUSTER_API_KEY; default: the one of the data directory)',
      ),
    )
    // Commands copy this when they are registered: what every command takes stands in the help of each.
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(add --help for what it takes)')
    .exitOverride()
    .addHelpText(
      'after',
      `
Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration, 4 unreachable, 5 partly failed, 6 gate failed.
Data goes to stdout, messages to stderr. NO_COLOR is honoured.

  doorbuster demo                          a crowd of 20,000 takes 500 vouchers, with the proof
  doorbuster serve                         start the server on ./data
  doorbuster campaign create shop.yaml     make a campaign from its definition`,
    );
  for (const register of [
    registerServe,
    registerDemo,
    registerCampaign,
    registerDelivery,
    registerMember,
    registerRehearse,
    registerVerify,
    registerBackup,
    registerApiKey,
    registerToken,
    registerSecrets,
    registerPage,
    registerDoctor,
  ])
    register(program, env);
  return program;
}

export const isUsageError = (error: unknown): error is CommanderError => error instanceof CommanderError;
