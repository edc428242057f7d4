/**
 * `doorbuster verify`: checks the proof without a server. A data directory (every table against the fold of the records), an exported chain, or a
 * single receipt; the last two from the public keys alone.
 */
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { verifierOf } from '../audit/keys.ts';
import { type ExportReport, verifyExport, verifyReceiptText } from '../audit/verify-export.ts';
import type { VerifyReport } from '../ledger.ts';
import { verifyDataDirectory } from '../main.ts';
import { ledgerPath } from '../paths.ts';
import { type Context, contextOf } from './context.ts';
import { CliError, exitCodes } from './failure.ts';

interface VerifyOptions {
  readonly records?: string;
  readonly receipt?: string;
  readonly keys?: string;
}

export function registerVerify(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('verify')
    .description('check a data directory, an exported chain of records, or one receipt, offline')
    .option('--records <ndjson>', 'an exported chain (campaign export --what records)')
    .option('--receipt <json>', 'a receipt, as the member page or the API gives it')
    .option(
      '--keys <json>',
      'the public keys (/.well-known/doorbuster-keys.json); needed for --records and --receipt',
    )
    .action(async (options: VerifyOptions, command: Command) => verify(contextOf(command, env), options));
}

async function verify(context: Context, options: VerifyOptions): Promise<void> {
  if (options.receipt) verifyReceipt(context, options.receipt, keysOf(options));
  else if (options.records)
    reportExport(context, await verifyExport(createReadStream(readable(options.records)), keysOf(options)));
  else await verifyDirectory(context);
}

async function verifyDirectory(context: Context): Promise<void> {
  const config = context.config();
  if (!existsSync(ledgerPath(config.dataDir)))
    throw new CliError(
      exitCodes.usage,
      `There is no ledger in ${config.dataDir}.`,
      'Name the data directory with --data.',
    );
  const report: VerifyReport = await verifyDataDirectory(config);
  const counts = `${report.campaigns} campaigns, ${report.records} records, ${report.entries} entries, ${report.batches} signed batches`;
  const faults = report.violations.map((v) => `  ${v.invariant} ${v.campaignId ?? ''} ${v.detail}`);
  context.terminal.data(
    report,
    report.ok
      ? `Verified: ${counts}. Every table equals the fold of the records.`
      : [`NOT verified: ${counts}.`, ...faults].join('\n'),
  );
  if (!report.ok) process.exitCode = exitCodes.gateFailed;
}

function reportExport(context: Context, report: ExportReport): void {
  const text = report.ok
    ? `Verified: ${report.records} records in ${report.batches} signed batches of ${report.campaign}. Head ${report.head}.`
    : `NOT verified: ${report.fault}`;
  context.terminal.data(report, text);
  if (!report.ok) process.exitCode = exitCodes.gateFailed;
}

function verifyReceipt(context: Context, file: string, keys: ReturnType<typeof keysOf>): void {
  const checked = verifyReceiptText(readFileSync(readable(file), 'utf8'), keys);
  const text = checked.ok ? `Verified: ${JSON.stringify(checked.record)}` : `NOT verified: ${checked.reason}`;
  context.terminal.data(checked, text);
  if (!checked.ok) process.exitCode = exitCodes.gateFailed;
}

function keysOf(options: VerifyOptions): ReturnType<typeof verifierOf> {
  if (!options.keys)
    throw new CliError(
      exitCodes.usage,
      'The public keys are missing.',
      'Give --keys FILE, saved from /.well-known/doorbuster-keys.json of the server.',
    );
  try {
    return verifierOf(JSON.parse(readFileSync(readable(options.keys), 'utf8')));
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError(
      exitCodes.usage,
      `${options.keys} is not a JWK set.`,
      'Save it from /.well-known/doorbuster-keys.json of the server.',
      { cause },
    );
  }
}

function readable(file: string): string {
  if (!existsSync(file)) throw new CliError(exitCodes.usage, `${file} does not exist.`, 'Check the path.');
  return file;
}
