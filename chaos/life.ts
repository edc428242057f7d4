/** One life: a data directory with the mail server and the crowd beside it, and the cycles of the server on it, one after the other. */
import { readdirSync } from 'node:fs';
import { pause, systemClock } from '@doorbuster/messaging';
import { Installation } from '../packages/server/src/acceptance/testing/installation.ts';
import { verified } from '../packages/server/src/acceptance/testing/judge.ts';
import { startAnswerCutter } from './answer-cutter.ts';
import { CrowdProcess } from './crowd-process.ts';
import { Cycle, type CycleResult, leaseMs, mailTimeoutMs, type Stage } from './cycle.ts';
import type { Plan } from './plan.ts';
import { processWith, type StartOptions } from './server-start.ts';

/** A cycle that has not come to its end by then has hung. */
const cyclePatienceMs = 90_000;

/**
 * Tells each result, in the order of the cycles. A cycle with a fault ends the life: what comes after it would only repeat it. At the end `doorbuster verify` looks
 * at all.
 */
export async function runLife(
  plans: readonly Plan[],
  options: StartOptions,
  tell: (result: CycleResult) => void,
): Promise<void> {
  const isCold = readdirSync(options.compileCache).length === 0;
  const shop = await Installation.start({
    config: { delivery: { leaseMs }, email: { timeoutMs: mailTimeoutMs } },
    process: processWith(options, null),
  });
  // What was started is stopped, the last one first, also when the next one does not start.
  const stops = [() => shop.stop()];
  try {
    const cutter = await startAnswerCutter();
    stops.unshift(() => cutter.close());
    const crowd = await CrowdProcess.start();
    stops.unshift(() => crowd.stop());
    const stage = { shop, options, crowd, cutter };
    if (isCold) await warmUp(stage);
    await runCycles(stage, plans, tell);
  } finally {
    for (const stop of stops) await stop();
  }
}

/** Compiled code is kept at an orderly end only. */
async function warmUp({ shop, options }: Stage): Promise<void> {
  await shop.drain();
  await shop.startServer(processWith(options, null));
}

async function runCycles(
  stage: Stage,
  plans: readonly Plan[],
  tell: (result: CycleResult) => void,
): Promise<void> {
  const open: { readonly plan: Plan; readonly cycle: Cycle }[] = [];
  const settle = async (): Promise<boolean> => {
    const { plan, cycle } = open.shift() as { plan: Plan; cycle: Cycle };
    const result = await orBroken(stage, plan, cycle, () => cycle.settle());
    // The last word on the data directory is the command's own.
    const isLast = open.length === 0 && plan === plans.at(-1);
    const faults = isLast && result.faults.length === 0 ? await verified(stage.shop) : [];
    tell({ ...result, faults: [...result.faults, ...faults] });
    return result.faults.length === 0;
  };
  for (const [i, plan] of plans.entries()) {
    const cycle = new Cycle(stage, plan, plans[i + 1] ?? null);
    const failure = await orBroken(stage, plan, cycle, () => cycle.strike());
    if (failure) return tell(failure);
    open.push({ plan, cycle });
    while (open[0]?.cycle.isDelivered) if (!(await settle())) return;
  }
  while (open.length > 0) if (!(await settle())) return;
}

/** What the work gives, or the result of a cycle that could not be brought to its end. */
async function orBroken<T>(
  stage: Stage,
  plan: Plan,
  cycle: Cycle,
  work: () => Promise<T>,
): Promise<T | CycleResult> {
  const over = new AbortController();
  const late = pause(systemClock, cyclePatienceMs, over.signal).then(() => {
    throw new Error(`no end after ${cyclePatienceMs} ms`);
  });
  try {
    return await Promise.race([work(), late]);
  } catch (error) {
    return broken(plan, cycle.seen, `${describe(error)}\n${stage.shop.serverLog}`);
  } finally {
    over.abort();
  }
}

function describe(error: unknown): string {
  const { stack, faults } = error as { stack?: string; faults?: readonly unknown[] };
  return `${stack ?? String(error)}${faults ? ` ${JSON.stringify(faults)}` : ''}`;
}

/** Nothing is known of it but what was seen before it broke: faults without figures. */
export function broken({ name }: Pick<Plan, 'name'>, seen: readonly string[], why: string): CycleResult {
  return {
    name,
    kills: 0,
    killsWhileAdmitting: 0,
    failpoints: [],
    missed: null,
    stops: 0,
    refusedStarts: 0,
    answersLost: 0,
    tornTails: 0,
    acknowledged: 0,
    oversold: 0,
    acknowledgedLost: 0,
    servedTwice: 0,
    undelivered: 0,
    fiveHundreds: 0,
    mailsRepeated: 0,
    broken: seen.length === 0,
    faults: [...seen, `${name}: ${why}`],
  };
}
