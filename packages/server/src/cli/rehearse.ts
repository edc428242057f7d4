/**
 * `doorbuster rehearse`: the same campaign on a shadow copy, with synthetic members and vouchers, before the day. The copy runs in an installation of its
 * own on this machine (server, mail server, crowd, data directory): nothing of it reaches the shop's members, providers or ledger.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SurveyDefinition } from '@doorbuster/core';
import { type Command, Option } from 'commander';
import { type Context, contextOf } from './context.ts';
import { startRig } from './demo/rig.ts';
import { type RunResult, runCrowd } from './demo/run.ts';
import { exitCodes } from './failure.ts';
import { positive, whole } from './options.ts';
import { syntheticAnswers } from './synthetic-answers.ts';
import { readYamlFile } from './yaml-file.ts';

interface RehearseOptions {
  readonly file?: string;
  readonly entrants: number;
  readonly seed: number;
  readonly connections: number;
  readonly intake?: 'direct' | 'queued';
}

export function registerRehearse(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('rehearse [campaign]')
    .description('run a campaign on a shadow copy with synthetic members, and report')
    .option('--file <definition>', 'a definition file instead of a campaign of the server')
    .option('--entrants <members>', 'size of the crowd', positive, 5_000)
    .option('--seed <seed>', 'draws the crowd', whole, 1)
    .option('--connections <n>', 'connections of the crowd', positive, 128)
    .addOption(new Option('--intake <intake>', 'try the other intake').choices(['direct', 'queued']))
    .action(async (id: string | undefined, options: RehearseOptions, command: Command) =>
      rehearse(contextOf(command, env), id, options),
    );
}

async function rehearse(context: Context, id: string | undefined, options: RehearseOptions): Promise<void> {
  const source = options.file
    ? readYamlFile(options.file)
    : ((await context.client().call('GET', `/v1/campaigns/${encodeURIComponent(id ?? '')}`)).json
        .definition as Record<string, unknown>);
  const stock = source.stock as { capacity: number; safetyStock?: number };
  const definition = { ...source, ...(options.intake ? { intake: options.intake } : {}), ...shadow() };
  const env = Object.fromEntries(
    Object.entries(context.env).filter(
      ([key]) => !key.startsWith('DOORBUSTER_') || key === 'DOORBUSTER_NODE',
    ),
  );
  const dataDir = mkdtempSync(join(tmpdir(), 'doorbuster-rehearsal-'));
  context.terminal.say('Rehearsal: a shadow copy on this machine, with synthetic members and vouchers');
  const rig = await startRig({ dataDir, port: 0, env });
  try {
    const result = await runCrowd(rig, context.terminal, {
      campaignId: 'rehearsal',
      definition,
      answerSets: syntheticAnswers((source.survey as SurveyDefinition | undefined) ?? null),
      entrants: options.entrants,
      units: stock.capacity,
      seed: options.seed,
      connections: options.connections,
      env,
    });
    const { ok, ...fields } = result;
    context.terminal.data(
      { ...fields, ready: ok },
      reportText(result, stock.capacity - (stock.safetyStock ?? 0)),
    );
    if (!ok) process.exitCode = exitCodes.gateFailed;
  } finally {
    await rig.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** What a shadow copy does not take over: its times, its voucher source, its messengers, its doors. */
function shadow(): Record<string, unknown> {
  return {
    endsAt: null,
    page: {},
    reward: { voucherSource: 'pool', messengers: ['email'] },
    eligibility: { audience: 'listed' },
  };
}

function reportText(r: RunResult, offered: number): string {
  const won = r.verdicts.won ?? 0;
  return [
    `Rehearsed with ${r.entrants.toLocaleString('en')} synthetic members for ${offered.toLocaleString('en')} offered units: ${won.toLocaleString('en')} won.`,
    `  answers a second  ${r.requestsPerSecond.toLocaleString('en')}   p50 ${r.latencyMs.p50} ms   p99 ${r.latencyMs.p99} ms`,
    `  sold out after    ${r.soldOutAfterMs === null ? 'units are left' : `${(r.soldOutAfterMs / 1000).toFixed(2)} s`}`,
    `  delivered         ${r.delivered.toLocaleString('en')} after ${r.deliveredAfterMs === null ? '-' : `${(r.deliveredAfterMs / 1000).toFixed(2)} s`}`,
    `  oversold ${r.oversold}, acknowledged and lost ${r.acknowledgedLost}, served twice ${r.servedTwice}, chain ${r.chainVerified ? 'verified' : 'BROKEN'}`,
    ...r.faults.map((f) => `  fault: ${f}`),
    "Not rehearsed: the shop's own token service, voucher provider, messengers, eligibility rules and network.",
  ].join('\n');
}
