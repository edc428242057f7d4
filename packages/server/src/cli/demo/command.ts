/** `doorbuster demo`: a real server, a real crowd, real mail, and the proof. Stays up on a terminal. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { parse as parseYaml } from 'yaml';
import { type Context, contextOf } from '../context.ts';
import { exitCodes } from '../failure.ts';
import { positive, whole } from '../options.ts';
import { type Rig, seedCampaign, startRig } from './rig.ts';
import { type RunResult, runCrowd } from './run.ts';
import { openShop, type Shop } from './shop.ts';

interface DemoOptions {
  readonly entrants: number;
  readonly units: number;
  readonly intake: 'direct' | 'queued';
  readonly seed: number;
  readonly connections: number;
  readonly port: number;
  readonly stay?: boolean;
}

export function registerDemo(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('demo')
    .description('a crowd takes the vouchers of a seeded campaign, with the proof; stays up on a terminal')
    .option('--entrants <members>', 'size of the crowd', positive, 20_000)
    .option('--units <units>', 'vouchers', positive, 500)
    .addOption(
      new Option('--intake <intake>', 'how entries come in').choices(['direct', 'queued']).default('direct'),
    )
    .option('--seed <seed>', 'draws the crowd', whole, 1)
    .option('--connections <n>', 'connections of the crowd', positive, 128)
    .option('--port <port>', 'port of the server; 0 lets the system choose', whole, 0)
    .option('--stay', 'stay up also without a terminal')
    .option('--no-stay', 'end after the run')
    .action(async (options: DemoOptions, command: Command) => demo(contextOf(command, env), options));
}

/** The example that shops start from; the build puts a copy beside the compiled file. */
const campaignFile = new URL(
  import.meta.url.endsWith('.ts') ? '../../../../../examples/giveaway/campaign.yaml' : './campaign.yaml',
  import.meta.url,
);

/** The campaign that a shop would write, with the demo's size. */
function demoDefinition(options: DemoOptions): Record<string, unknown> {
  const definition = parseYaml(readFileSync(campaignFile, 'utf8')) as Record<string, unknown>;
  const stock = { ...(definition.stock as object), capacity: options.units, closeWhenSoldOut: false };
  return { ...definition, stock, intake: options.intake, endsAt: null };
}

const answerSets = [
  { favourite: 'americano', satisfaction: 5 },
  { favourite: 'latte', satisfaction: 4, wish: '디카페인도 있으면 좋겠어요' },
  { favourite: 'cold-brew', satisfaction: 3, wish: 'Longer opening hours' },
];

/** A closed terminal sends SIGHUP: the demo leaves nothing behind then either. */
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

async function demo(context: Context, options: DemoOptions): Promise<void> {
  const { terminal, env } = context;
  const kept = context.options.data !== undefined;
  const dataDir = kept
    ? resolve(context.options.data ?? '')
    : mkdtempSync(join(tmpdir(), 'doorbuster-demo-'));
  const childEnv = withoutSettings(env);
  const shop = await openShop();
  terminal.say('Starting a server and a mail server');
  const rig = await startRig({ dataDir, port: options.port, env: childEnv, allowedOrigins: [shop.url] });
  let cleaned = false;
  const clean = async (): Promise<void> => {
    if (cleaned) return;
    cleaned = true;
    await rig.stop();
    await shop.close();
    if (!kept) rmSync(dataDir, { recursive: true, force: true });
  };
  const interrupted = (signal: NodeJS.Signals): void =>
    void clean().then(() => process.exit(128 + constants.signals[signal]));
  for (const signal of endings) process.once(signal, interrupted);
  try {
    const id = `demo-${options.intake}`;
    const result = await runCrowd(rig, terminal, {
      campaignId: id,
      definition: demoDefinition(options),
      answerSets,
      entrants: options.entrants,
      units: options.units,
      seed: options.seed,
      connections: options.connections,
      env: childEnv,
    });
    const { ok, ...fields } = result;
    terminal.data(fields, summaryText(result));
    if (!ok) process.exitCode = exitCodes.gateFailed;
    if (options.stay ?? (process.stdout.isTTY === true && !terminal.json))
      await stayUp(context, rig, shop, options, id);
  } finally {
    for (const signal of endings) process.off(signal, interrupted);
    await clean();
  }
}

/** Settings of the caller's own server must not reach the demo's. */
function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([key]) => !key.startsWith('DOORBUSTER_') || key === 'DOORBUSTER_NODE'),
  );
}

/** Opens a second campaign within a minute, so that a person can take part, and waits for Ctrl-C. */
async function stayUp(
  context: Context,
  rig: Rig,
  shop: Shop,
  options: DemoOptions,
  id: string,
): Promise<void> {
  const { terminal } = context;
  await seedCampaign(rig.client, {
    id: 'yours',
    definition: demoDefinition({ ...options, intake: 'direct', units: 10 }),
    entrants: 100,
    units: 10,
    startsAtMs: Date.now() + 45_000,
  });
  shop.offer({ url: rig.url, campaignId: 'yours', tokenSecret: rig.tokenSecret });
  terminal.warn(`
${terminal.bold('It stays up. Your turn: a second campaign opens in 45 seconds.')}
  the shop            ${shop.url}/            (sign in as a member, then enter)
  member page         ${rig.url}/c/yours
  sold-out page       ${rig.url}/c/${id}
  API reference       ${rig.url}/docs
  metrics             ${rig.url}/metrics
  operator key        ${join(rig.dataDir, 'operator-key')}
  received mails      ${join(rig.dataDir, 'received-mails.ndjson')}
Ctrl-C ends it.`);
  await new Promise<void>((done) => {
    const hold = setInterval(() => undefined, 1 << 30);
    const end = (): void => {
      clearInterval(hold);
      done();
    };
    for (const signal of endings) process.removeAllListeners(signal).once(signal, end);
  });
}

function summaryText(r: RunResult): string {
  const count = (n: number): string => n.toLocaleString('en');
  const verdicts = Object.entries(r.verdicts)
    .map(([name, n]) => `${count(n)} ${name}`)
    .join(', ');
  const seconds = (ms: number | null): string => (ms === null ? '-' : `${(ms / 1000).toFixed(2)} s`);
  return [
    '',
    `  ${count(r.entrants)} members sent ${count(r.requests)} requests for ${count(r.units)} vouchers`,
    `  verdicts            ${verdicts}`,
    `  sold out after      ${seconds(r.soldOutAfterMs)}    all delivered after ${seconds(r.deliveredAfterMs)}`,
    `  answers             ${count(r.requestsPerSecond)} a second, p50 ${r.latencyMs.p50} ms, p99 ${r.latencyMs.p99} ms, slowest ${r.latencyMs.max} ms`,
    '',
    `  oversold            ${r.oversold}`,
    `  acknowledged, lost  ${r.acknowledgedLost}`,
    `  served twice        ${r.servedTwice}`,
    `  delivered           ${count(r.delivered)} of ${count(r.units)} mails, each with its own code`,
    `  chain               ${r.chainVerified ? 'verified from the public key' : 'BROKEN'}, ${count(r.receiptsChecked)} receipts checked`,
    `  ledger              ${r.ledgerVerified ? 'verified: every table equals the fold of the records' : 'FAULTY'}`,
    ...r.faults.slice(0, 10).map((f) => `  fault: ${f}`),
    '',
    r.ok ? '  Every promise was kept.' : '  A promise was broken: see the faults above.',
    '',
  ].join('\n');
}
