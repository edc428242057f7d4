/** `doorbuster campaign ...`: a campaign from its definition to its results, over the HTTP API. */
import { createReadStream, createWriteStream, statSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import { contentFaults } from '../campaign/content-faults.ts';
import { definitionFormFaults } from '../campaign/definition-patch.ts';
import type { CampaignDefinition } from '../campaign/definition.ts';
import { type ApiClient, faultOfFinding, type Finding, type Reply } from './client.ts';
import { type Context, contextOf } from './context.ts';
import { CliError, exitCodes, faultText } from './failure.ts';
import { checked, confirmIrreversible, instantText, outcome, whole } from './options.ts';
import { readYamlFile } from './yaml-file.ts';

const dryRun = 'only check that it can be done';

const at = (id: string): string => `/v1/campaigns/${encodeURIComponent(id)}`;

export function registerCampaign(program: Command, env: NodeJS.ProcessEnv): void {
  const group = program.command('campaign').description('create, fill, publish, run and read campaigns');
  const run =
    (work: (context: Context, id: string, options: Record<string, unknown>) => Promise<void>) =>
    async (id: string, options: Record<string, unknown>, command: Command): Promise<void> =>
      work(contextOf(command, env), id, options);

  group
    .command('create <definition>')
    .description('make a draft from a definition (YAML or JSON)')
    .option('--id <id>', 'its id: lower-case letters, digits, hyphens (default: one is given)')
    .option('--starts-at <time>', 'another opening than the file has: RFC 3339, with its offset', instantText)
    .option('--dry-run', 'check the definition, make nothing')
    .action(run(create));
  group
    .command('list')
    .description('list all campaigns')
    .action(async (_options, command: Command) => list(contextOf(command, env)));
  group
    .command('import <campaign>')
    .description('load members and voucher codes from CSV')
    .option('--members <csv>', 'memberId,email,phone,locale,lastPurchaseAt,orders,tier,tags')
    .option('--codes <csv>', 'code,pin,url,validUntil')
    .option('--replace', 'replace what was imported before, instead of adding to it')
    .option('--skip-faulty', 'load the good rows and report the others')
    .option('--dry-run', 'let the server read every row, load none')
    .action(run(importRows));
  group
    .command('publish <campaign>')
    .description('check it and schedule its opening')
    .option('--dry-run', 'check only, publish nothing')
    .action(run((c, id, options) => (options.dryRun ? preflight(c, id) : publish(c, id))));
  group
    .command('pause <campaign>')
    .description('take no entries for a while')
    .option('--dry-run', dryRun)
    .action(run((c, id, options) => post(c, id, 'pauses', options, 'paused')));
  group
    .command('resume <campaign>')
    .description('take entries again')
    .option('--dry-run', dryRun)
    .action(run(resume));
  group
    .command('close <campaign>')
    .description('close it for good')
    .option('--confirm <campaign>', 'its id, typed again: this cannot be undone')
    .option('--dry-run', dryRun)
    .action(run(close));
  group
    .command('stock <campaign>')
    .description('raise or lower the stock, also while it is open')
    .option('--capacity <units>', 'units in all', whole)
    .option('--by <units>', 'units more (or, negative, fewer)', whole)
    .option('--safety-stock <units>', 'units reserved', whole)
    .option('--dry-run', `${dryRun}; shows the stock as it would be`)
    .action(run(stock));
  group
    .command('copy <campaign>')
    .description('make a new draft of the same definition')
    .requiredOption('--starts-at <time>', 'RFC 3339, with its offset', instantText)
    .option('--ends-at <time>', 'RFC 3339, with its offset', instantText)
    .option('--id <id>', 'id of the copy')
    .option('--dry-run', dryRun)
    .action(run(copy));
  group.command('status <campaign>').description('state, stock, deliveries').action(run(status));
  group
    .command('export <campaign>')
    .description('entries as CSV, or the chain of records as NDJSON')
    .addOption(
      new Option('--what <what>', 'what to export').choices(['entries', 'records']).default('entries'),
    )
    .requiredOption('--to <file>', 'file to write; - for stdout')
    .action(run(exportFile));
  group
    .command('results <campaign>')
    .description('results of the survey')
    .option('--cross <questions>', 'cross-table of two questions: a,b')
    .addOption(new Option('--format <format>', 'how').choices(['json', 'csv']).default('json'))
    .action(run(results));
}

async function create(context: Context, file: string, options: Record<string, unknown>): Promise<void> {
  const definition = {
    ...readYamlFile(file),
    ...(options.startsAt === undefined ? {} : { startsAt: options.startsAt }),
  };
  const faults = definitionFormFaults(definition);
  if (faults.length > 0)
    throw new CliError(
      exitCodes.usage,
      `${file} is not a valid definition.`,
      'Mend the fields listed; nothing was made.',
      { faults },
    );
  if (options.dryRun) {
    refuseContent(file, definition);
    context.terminal.data({ valid: true }, `${file} is a valid definition; nothing was made.`);
    return;
  }
  const body = { definition, ...(options.id ? { id: options.id } : {}) };
  const { json } = await context.client().call('POST', '/v1/campaigns', { body });
  context.terminal.data(json, `${String(json.id)}  ${String(json.state)}`);
  context.terminal.say(
    `Next: doorbuster campaign import ${String(json.id)} --members members.csv --codes voucher-codes.csv`,
  );
}

/** What the schema cannot say and `publish` would refuse: told early here. Needs a definition without faults of form. */
function refuseContent(file: string, definition: unknown): void {
  const faults = contentFaults(definition as CampaignDefinition);
  if (faults.length > 0)
    throw new CliError(
      exitCodes.usage,
      `${file} could not be published.`,
      'Mend the fields listed; nothing was made.',
      { faults },
    );
}

async function list(context: Context): Promise<void> {
  const rows: Record<string, unknown>[] = [];
  for await (const c of context.client().all('/v1/campaigns')) {
    const definition = c.definition as
      | { title?: { ko?: string; en?: string }; startsAt?: string }
      | undefined;
    rows.push({
      id: c.id,
      state: c.state,
      startsAt: definition?.startsAt,
      title: definition?.title?.en ?? definition?.title?.ko,
    });
  }
  context.terminal.table(rows, ['id', 'state', 'startsAt', 'title']);
  if (rows.length === 0)
    context.terminal.say(
      'No campaign yet. Make one: doorbuster campaign create examples/giveaway/campaign.yaml',
    );
}

async function importRows(context: Context, id: string, options: Record<string, unknown>): Promise<void> {
  const files = [
    ['members', options.members],
    ['voucher-codes', options.codes],
  ].filter((f): f is [string, string] => typeof f[1] === 'string');
  if (files.length === 0)
    throw new CliError(exitCodes.usage, 'Nothing to import.', 'Give --members FILE, --codes FILE or both.');
  const client = context.client();
  const query = new URLSearchParams();
  if (options.replace) query.set('mode', 'replace');
  if (options.skipFaulty) query.set('onError', 'skip');
  if (options.dryRun) query.set('dryRun', 'true');
  const pathOf = (kind: string): string => `${at(id)}/${kind}${query.size > 0 ? `?${query}` : ''}`;
  const [, second] = files;
  // A fault of the second file is found before the first one is in. What can be read once only, a pipe, is not checked.
  if (second && !options.dryRun && statSync(second[1], { throwIfNoEntry: false })?.isFile() !== false)
    await sendFile(context, client, checked(pathOf(second[0]), { dryRun: true }), second[1], 'check');
  const replies: Record<string, unknown> = {};
  const imported: string[] = [];
  let faulty = false;
  for (const [kind, file] of files) {
    const reply = await sendFile(context, client, pathOf(kind), file, kind).catch((error: unknown) => {
      throw options.dryRun ? error : afterImported(error, imported);
    });
    imported.push(file);
    replies[kind] = reply.json;
    faulty ||= Number(reply.json.skipped ?? 0) > 0;
  }
  context.terminal.data(
    replies,
    Object.entries(replies)
      .map((reply) => importText(reply, options))
      .join('\n'),
  );
  if (faulty) process.exitCode = exitCodes.partlyFailed;
}

/** A failure after files were imported says which: done in part. */
function afterImported(error: unknown, imported: readonly string[]): unknown {
  if (imported.length === 0 || !(error instanceof CliError)) return error;
  const { message, remedy, faults, code } = error;
  return new CliError(
    exitCodes.partlyFailed,
    `${imported.join(', ')} was imported, the other file was not. ${message}`,
    `${remedy} Then import the other file alone.`,
    { code, faults, cause: error },
  );
}

/** A refusal that names the file, where it is the file that was refused. */
function ofFile(error: unknown, file: string): unknown {
  if (!(error instanceof CliError) || error.code === 'CAMPAIGN_UNKNOWN') return error;
  if (error.exitCode !== exitCodes.usage && error.exitCode !== exitCodes.failed) return error;
  const { exitCode, message, remedy, faults, code } = error;
  return new CliError(exitCode, `${file}: ${message}`, remedy, { code, faults, cause: error });
}

/** What an import did, and the first faults of its rows. */
function importText([kind, reply]: [string, unknown], options: Record<string, unknown>): string {
  const { rows, total, skipped, faults, warnings } = reply as {
    rows: number;
    total: number;
    skipped: number;
    faults: readonly { line: number; message: string }[];
    warnings: readonly string[];
  };
  return [
    `${kind}: ${options.dryRun ? `${rows} would be imported, nothing was changed` : `${rows} imported`}, ${total} in all${skipped > 0 ? `, ${skipped} skipped` : ''}`,
    ...faults.map((fault) => `  line ${fault.line}: ${fault.message}`),
    ...warnings.map((warning) => `  note: ${warning}`),
  ].join('\n');
}

async function sendFile(
  context: Context,
  client: ApiClient,
  path: string,
  file: string,
  kind: string,
): Promise<Reply> {
  let total: number;
  try {
    total = statSync(file).size;
  } catch (cause) {
    throw new CliError(
      exitCodes.usage,
      `${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'error'}).`,
      'Check the path.',
      { cause },
    );
  }
  let sent = 0;
  const counted = createReadStream(file).on('data', (chunk) => {
    sent += chunk.length;
    context.terminal.progress(kind, sent, total);
  });
  const content = Readable.toWeb(counted) as unknown as ReadableStream<Uint8Array>;
  try {
    return await client.call('POST', path, { raw: { contentType: 'text/csv; charset=utf-8', content } });
  } catch (error) {
    throw ofFile(error, file);
  } finally {
    context.terminal.progressEnd();
  }
}

async function publish(context: Context, id: string): Promise<void> {
  const client = context.client();
  const reply = await client.call('POST', `${at(id)}/publications`, { body: {} });
  for (const finding of (reply.json.findings ?? []) as readonly Finding[])
    context.terminal.warn(faultText(faultOfFinding(finding)));
  context.terminal.data(reply.json, `${id}  scheduled\nmember page: ${client.url}/c/${id}`);
}

/** What publishing would say. Errors end it with the exit code that publishing would have. */
async function preflight(context: Context, id: string): Promise<void> {
  const reply = await context.client().call('GET', `${at(id)}/preflight`);
  const findings = (reply.json.findings ?? []) as readonly Finding[];
  const lines = findings.map((finding) => `  ${faultText(faultOfFinding(finding))}`);
  const errors = findings.filter(({ level }) => level === 'error').length;
  const verdict = errors > 0 ? 'cannot be published' : 'can be published';
  context.terminal.data(reply.json, [`${id}  ${verdict}; nothing was changed`, ...lines].join('\n'));
  if (errors > 0) process.exitCode = exitCodes.usage;
}

async function post(
  context: Context,
  id: string,
  what: string,
  options: Record<string, unknown>,
  done: string,
): Promise<void> {
  const reply = await context.client().call('POST', checked(`${at(id)}/${what}`, options), { body: {} });
  context.terminal.data(reply.json, `${id}  ${outcome(options, done)}`);
}

async function resume(context: Context, id: string, options: Record<string, unknown>): Promise<void> {
  const reply = await context.client().call('DELETE', checked(`${at(id)}/pauses/current`, options));
  context.terminal.data(reply.json, `${id}  ${outcome(options, 'resumed')}`);
}

async function close(context: Context, id: string, options: Record<string, unknown>): Promise<void> {
  if (!options.dryRun)
    await confirmIrreversible(
      context,
      id,
      options.confirm,
      'Closing is final: no entry is taken afterwards.',
    );
  await post(context, id, 'closures', options, 'closed');
}

async function stock(context: Context, id: string, options: Record<string, unknown>): Promise<void> {
  const body = {
    ...(options.capacity === undefined ? {} : { capacity: options.capacity }),
    ...(options.by === undefined ? {} : { capacityBy: options.by }),
    ...(options.safetyStock === undefined ? {} : { safetyStock: options.safetyStock }),
  };
  if (Object.keys(body).length === 0)
    throw new CliError(exitCodes.usage, 'Nothing to change.', 'Give --capacity, --by or --safety-stock.');
  const reply = await context.client().call('POST', checked(`${at(id)}/stock-changes`, options), { body });
  const done = options.dryRun ? 'stock as it would be; nothing was changed' : 'stock changed';
  context.terminal.data(reply.json, `${id}  ${done}\n${laneText(reply.json)}`);
}

/** The stock of a campaign in one line. */
function laneText(campaign: Record<string, unknown>): string {
  const lane = campaign.lane as Record<string, number>;
  return ['capacity', 'free', 'reserved', 'issued', 'void', 'waiting']
    .map((n) => `${n} ${lane[n]}`)
    .join('   ');
}

async function copy(context: Context, id: string, options: Record<string, unknown>): Promise<void> {
  const definition = { startsAt: options.startsAt, ...(options.endsAt ? { endsAt: options.endsAt } : {}) };
  const body = { definition, ...(options.id ? { id: options.id } : {}) };
  const reply = await context.client().call('POST', checked(`${at(id)}/copies`, options), { body });
  const text = options.dryRun
    ? `${id}  can be copied; nothing was made`
    : `${String(reply.json.id)}  ${String(reply.json.state)}`;
  context.terminal.data(reply.json, text);
}

async function status(context: Context, id: string): Promise<void> {
  const client = context.client();
  const campaign = (await client.call('GET', at(id))).json;
  if (!campaign.lane) {
    const counts = `members      ${String(campaign.memberCount)}\ncodes        ${String(campaign.voucherCodeCount)}`;
    return context.terminal.data(campaign, `${id}  ${String(campaign.state)}\n${counts}`);
  }
  const open = (await client.call('GET', `${at(id)}/status`)).json;
  const { byState, byError } = (await client.call('GET', `${at(id)}/delivery-summary`)).json as {
    byState: Record<string, number>;
    byError: unknown;
  };
  const lines = Object.entries(open).map(
    ([key, value]) =>
      `${key.padEnd(12)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`,
  );
  const deliveries = Object.entries(byState).map(([state, count]) => `${state} ${count}`);
  context.terminal.data(
    { ...campaign, status: open, deliveries: { byState, byError } },
    [
      `${id}  ${String(campaign.state)}`,
      ...lines,
      `stock        ${laneText(campaign)}`,
      `deliveries   ${deliveries.join('   ')}`,
    ].join('\n'),
  );
}

async function exportFile(context: Context, id: string, options: Record<string, unknown>): Promise<void> {
  const [path, accept] =
    options.what === 'records'
      ? [`${at(id)}/records`, 'application/x-ndjson']
      : [`${at(id)}/entries/export`, 'text/csv'];
  const body = Readable.fromWeb((await context.client().stream(path, accept)) as never);
  const to = String(options.to);
  await pipeline(body, to === '-' ? process.stdout : createWriteStream(to, { mode: 0o600 }), {
    end: to !== '-',
  });
  if (to !== '-') context.terminal.say(`Written: ${to}`);
}

async function results(context: Context, id: string, options: Record<string, unknown>): Promise<void> {
  const query = options.cross ? `?cross=${encodeURIComponent(String(options.cross))}` : '';
  if (options.format === 'csv') {
    await pipeline(
      Readable.fromWeb(
        (await context.client().stream(`${at(id)}/survey-results${query}`, 'text/csv')) as never,
      ),
      process.stdout,
      { end: false },
    );
    return;
  }
  const reply = await context.client().call('GET', `${at(id)}/survey-results${query}`);
  context.terminal.data(reply.json, JSON.stringify(reply.json, null, 2));
}
