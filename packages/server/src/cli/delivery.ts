/** `doorbuster delivery ...`: what reached whom, and what to do where it did not. */
import type { Command } from 'commander';
import { type Context, contextOf } from './context.ts';
import { CliError, exitCodes } from './failure.ts';
import { checked, confirmIrreversible, outcome, positive } from './options.ts';

const at = (id: string): string => `/v1/campaigns/${encodeURIComponent(id)}`;

export function registerDelivery(program: Command, env: NodeJS.ProcessEnv): void {
  const group = program.command('delivery').description('list, retry, replace and revoke deliveries');
  group
    .command('list <campaign>')
    .description('list deliveries and how far they are')
    .option('--state <state>', 'due, sending, unknown, delivered, parked or cancelled')
    .option('--error <code>', 'error code')
    .action(async (id: string, options: Filter, command: Command) =>
      list(contextOf(command, env), id, options),
    );
  group
    .command('retry <campaign>')
    .description('try again what the filter selects (default: everything parked)')
    .option('--state <state>', 'parked or unknown')
    .option('--error <code>', 'error code')
    .option('--seq <seq>', 'one entry', positive)
    .option('--resend', 'send the same voucher again to those already delivered')
    .option('--dry-run', 'count only')
    .action(async (id: string, options: Filter, command: Command) =>
      retry(contextOf(command, env), id, options),
    );
  for (const [name, path, effect] of [
    ['replace', 'replacements', 'The unit is voided and a fresh voucher is given.'],
    ['revoke', 'revocations', 'The grant is taken back by a signed record.'],
  ] as const)
    group
      .command(`${name} <campaign>`)
      .description(effect)
      .requiredOption('--seq <seq>', 'number of the entry', positive)
      .option('--confirm <campaign>', 'id of the campaign, typed again: this cannot be undone')
      .option('--dry-run', 'only check that it can be done')
      .action(async (id: string, options: OneEntry, command: Command) => {
        const context = contextOf(command, env);
        if (!options.dryRun) await confirmIrreversible(context, id, options.confirm, effect);
        const reply = await context
          .client()
          .call('POST', checked(`${at(id)}/${path}`, options), { body: { seq: options.seq } });
        context.terminal.data(reply.json, `${id}  seq ${options.seq}  ${outcome(options, `${name}d`)}`);
      });
}

interface OneEntry {
  readonly seq: number;
  readonly confirm?: string;
  readonly dryRun?: boolean;
}

interface Filter {
  readonly state?: string;
  readonly error?: string;
  readonly seq?: number;
  readonly resend?: boolean;
  readonly dryRun?: boolean;
}

async function list(context: Context, id: string, options: Filter): Promise<void> {
  const query = new URLSearchParams();
  if (options.state) query.set('state', options.state);
  if (options.error) query.set('errorCode', options.error);
  const rows: Record<string, unknown>[] = [];
  for await (const delivery of context
    .client()
    .all(`${at(id)}/deliveries${query.size > 0 ? `?${query}` : ''}`))
    rows.push(delivery);
  context.terminal.table(rows, [
    'deliveryId',
    'seq',
    'state',
    'voucherState',
    'messageState',
    'attempts',
    'errorCode',
    'takenBack',
  ]);
}

async function retry(context: Context, id: string, options: Filter): Promise<void> {
  const client = context.client();
  const filter = {
    ...(options.state || !options.seq
      ? { state: options.state ?? (options.resend ? 'delivered' : 'parked') }
      : {}),
    ...(options.error ? { errorCode: options.error } : {}),
    ...(options.seq ? { seq: options.seq } : {}),
  };
  const body = { filter, resend: options.resend === true, ...(options.dryRun ? { dryRun: true } : {}) };
  const reply = await client.call('POST', `${at(id)}/delivery-batches`, { body });
  const location = reply.location;
  if (options.dryRun || !location) {
    context.terminal.data(reply.json, `${String(reply.json.total ?? 0)} deliveries would be tried again.`);
    return;
  }
  const path = new URL(location, client.url).pathname;
  for (let i = 0; i < 600; i++) {
    const batch = (await client.call('GET', path)).json;
    context.terminal.progress('retry', Number(batch.moved), Number(batch.total));
    if (batch.state !== 'running') {
      context.terminal.progressEnd();
      context.terminal.data(
        batch,
        `${String(batch.moved)} of ${String(batch.total)} deliveries are tried again.`,
      );
      return;
    }
    await new Promise((resolve) => {
      setTimeout(resolve, 250);
    });
  }
  throw new CliError(exitCodes.partlyFailed, 'The batch is still running.', `See its progress: GET ${path}`);
}
