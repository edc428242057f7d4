/**
 * `doorbuster backup` and `doorbuster restore`. A backup is a directory: the ledger as of one moment, and a manifest. The bus is not in it: whatever was in
 * flight is found again by the outbox and the sweep. The secrets are not in it either, unless asked for: who has both can read everything.
 *
 * A restore raises the epoch of every lane by a record of its own: what was acknowledged after the backup is missing, and receipts of the older epoch tell.
 */
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { backupDataDirectory, restoreDataDirectory } from '../main.ts';
import { ledgerPath, secretsPath } from '../paths.ts';
import { type Context, contextOf } from './context.ts';
import { makeOrRefuse } from './directory.ts';
import { CliError, exitCodes } from './failure.ts';

interface Manifest {
  readonly format: 'doorbuster-backup';
  readonly version: 1;
  /** ms since the epoch */
  readonly takenAt: number;
}

export function registerBackup(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('backup')
    .description('copy the ledger as of now, also while the server runs')
    .requiredOption('--to <dir>', 'directory to make')
    .option('--with-secrets', 'put the secrets file in too')
    .action(async (options: { to: string; withSecrets?: boolean }, command: Command) =>
      backup(contextOf(command, env), options),
    );
  program
    .command('restore')
    .description('make a data directory from a backup; raises the epoch')
    .requiredOption('--from <dir>', 'the backup')
    .option(
      '--confirm <dir>',
      'the data directory, typed again: what was acknowledged after the backup is lost',
    )
    .action(async (options: { from: string; confirm?: string }, command: Command) =>
      restore(contextOf(command, env), options),
    );
}

async function backup(context: Context, options: { to: string; withSecrets?: boolean }): Promise<void> {
  const config = context.config();
  const to = resolve(options.to);
  if (!existsSync(ledgerPath(config.dataDir)))
    throw new CliError(
      exitCodes.usage,
      `There is no ledger in ${config.dataDir}.`,
      'Name the data directory with --data.',
    );
  makeOrRefuse(to, '--to');
  if (readdirSync(to).length > 0)
    throw new CliError(exitCodes.usage, `${to} is not empty.`, 'Choose a new directory.');
  await backupDataDirectory(config, join(to, 'ledger.sqlite'));
  if (options.withSecrets) copyFileSync(secretsPath(config), join(to, 'secrets.json'));
  const manifest: Manifest = { format: 'doorbuster-backup', version: 1, takenAt: Date.now() };
  // Last, so that a backup that was cut short is not taken for one.
  writeFileSync(join(to, 'backup.json'), `${JSON.stringify(manifest)}\n`);
  context.terminal.data(
    { ...manifest, directory: to, secrets: options.withSecrets === true },
    `Backed up to ${to}`,
  );
  if (!options.withSecrets)
    context.terminal.say(`Keep ${secretsPath(config)} elsewhere: without it the backup cannot be read.`);
}

async function restore(context: Context, options: { from: string; confirm?: string }): Promise<void> {
  const from = resolve(options.from);
  const config = context.config();
  const dataDir = resolve(config.dataDir);
  readManifest(from);
  if (existsSync(ledgerPath(dataDir)) && resolve(options.confirm ?? '') !== dataDir)
    throw new CliError(
      exitCodes.usage,
      `${dataDir} already holds a ledger; a restore replaces it.`,
      `Give --confirm=${config.dataDir}, or restore into an empty directory with --data.`,
    );
  const backedUpSecrets = join(from, 'secrets.json');
  const secretsFile = secretsPath(config);
  if (!existsSync(secretsFile) && !existsSync(backedUpSecrets))
    throw new CliError(
      exitCodes.configuration,
      'There are no secrets for this backup.',
      `Put the secrets file that belongs to it at ${secretsFile}.`,
    );
  makeOrRefuse(dataDir, '--data');
  if (!existsSync(secretsFile)) copyFileSync(backedUpSecrets, secretsFile);
  const lanes = await restoreDataDirectory(config, join(from, 'ledger.sqlite'));
  context.terminal.data(
    { restored: lanes },
    `Restored into ${dataDir}: ${lanes.length} campaigns, each in a new epoch.`,
  );
  context.terminal.say('Next: doorbuster verify, then doorbuster serve.');
}

function readManifest(from: string): Manifest {
  try {
    const manifest = JSON.parse(readFileSync(join(from, 'backup.json'), 'utf8')) as Manifest;
    if (manifest.format === 'doorbuster-backup' && manifest.version === 1) return manifest;
  } catch {
    // Falls through to the one message.
  }
  throw new CliError(
    exitCodes.usage,
    `${from} is not a whole backup.`,
    'Name a directory that `doorbuster backup` made.',
  );
}
