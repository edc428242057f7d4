/**
 * `npm run -s soak -- --engine NAME [--messages N] [--workers K] [--kill-every-ms MS] [--limit-s S] [--controls]
 * [--kill-publisher-every N] [--least-kills N] [--rate-unjudged] [--timeline] [--json]`: the long run. Messages go through an engine
 * to workers of which one is killed (SIGKILL) at each interval and replaced; the handler uses the inbox. Nothing may be lost, handled twice, or out of order on
 * its key (where the engine promises an order), and with kills at least half of the undisturbed rate, measured in the same run, has to remain.
 *
 * `--engine` may be given several times. `--controls`: a run without an inbox, whose first workers are killed between their work and its acknowledgement, has to
 * find messages handled twice, one that acknowledges before it works, killed in between, lost ones, and one that leaves work for later a broken order. Data on stdout (with --json one object as the last line), progress on stderr. Exit codes: 0 all of it
 * held, 1 it did not, 2 usage, 3 a server is not there.
 */
import { parseArgs } from 'node:util';
import { rmSync } from 'node:fs';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@doorbuster/messaging';
import {
  removeKafkaTopics,
  removeRabbitLadder,
  removeRabbitNames,
  removeRedisKeys,
  serverUrls,
} from '../../bench/messaging/servers.ts';
import { keepsOrder, type SoakEngine, soakEngines } from './engines.ts';
import { noFloor, tooFew } from './kill-floor.ts';
import { channelName, engineOf, type Mode, subscriptionName } from './part.ts';
import { type RunPlan, type RunResult, runOnce } from './run.ts';

const variables: Readonly<Partial<Record<SoakEngine, string>>> = {
  rabbitmq: 'RABBITMQ_URL',
  kafka: 'KAFKA_URL',
  redis: 'REDIS_URL',
  'redis-lists': 'REDIS_URL',
};

/** The undisturbed run is shorter: it only says how fast it goes. Five times what the publisher is ahead, or it would tell how fast a backlog is emptied. */
const undisturbedShare = 0.25;
const leastUndisturbed = 100_000;
const leastRate = 0.5;
const stillMs = 25_000;
const controlStillMs = 8_000;
/** Enough that each of the workers that are killed at a chosen moment gets some. */
const controlMessages = 20_000;
const controlKills = 3;

interface Asked {
  readonly engines: readonly SoakEngine[];
  readonly messages: number;
  readonly workers: number;
  readonly killEveryMs: number;
  /** Each such kill is the publisher's; 0: none is. */
  readonly publisherEvery: number;
  /** The run goes on until it has met so many. */
  readonly leastKills: number;
  readonly limitMs: number;
  readonly controls: boolean;
  /** The rate is told and not judged: in CI, where no test may depend on how fast a machine is. */
  readonly rateUnjudged: boolean;
  readonly timeline: boolean;
  readonly json: boolean;
}

interface EngineResult {
  readonly messages: number;
  readonly workers: number;
  /** Several processes, or, on an embedded engine that is not shared, several consumers in one that is killed as a whole. */
  readonly processes: number;
  readonly kills: number;
  readonly publisherKills: number;
  readonly lost: number;
  readonly handledTwice: number;
  /** Null where none is promised and so none was judged. */
  readonly orderBroken: number | null;
  readonly perSecondUndisturbed: number;
  readonly perSecondWithKills: number;
  /** With kills over undisturbed. */
  readonly rate: number;
  /** What is wanted of it; null where it is told and not judged. */
  readonly leastRate: number | null;
  readonly seconds: number;
  readonly violations: readonly string[];
}

interface ControlResult {
  readonly kills: number;
  readonly handledTwiceWithoutInbox: number;
  readonly lostWhenAcknowledgedFirst: number;
  /** Null where no order is promised. */
  readonly orderBrokenWhenWorkedLater: number | null;
  readonly violations: readonly string[];
}

const progress = (text: string): void => void process.stderr.write(`${text}\n`);

function read(argv: readonly string[]): Asked | null {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        engine: { type: 'string', multiple: true, default: [] },
        messages: { type: 'string', default: '1000000' },
        workers: { type: 'string', default: '4' },
        'kill-every-ms': { type: 'string', default: '1000' },
        'kill-publisher-every': { type: 'string', default: '0' },
        'least-kills': { type: 'string', default: '1' },
        'limit-s': { type: 'string', default: '1800' },
        controls: { type: 'boolean', default: false },
        'rate-unjudged': { type: 'boolean', default: false },
        timeline: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    const whole = (
      name: 'messages' | 'workers' | 'kill-every-ms' | 'limit-s' | 'kill-publisher-every' | 'least-kills',
      least = 1,
    ): number => {
      const value = Number(values[name]);
      if (!Number.isInteger(value) || value < least)
        throw new Error(`--${name} is a whole number from ${least}`);
      return value;
    };
    const unknown = values.engine.find((name) => !soakEngines.includes(name as SoakEngine));
    if (unknown !== undefined) throw new Error(`no engine "${unknown}": ${soakEngines.join(', ')}`);
    if (values.engine.length === 0) throw new Error(`--engine is one of ${soakEngines.join(', ')}`);
    return {
      engines: values.engine as SoakEngine[],
      messages: whole('messages'),
      workers: whole('workers'),
      killEveryMs: whole('kill-every-ms'),
      publisherEvery: whole('kill-publisher-every', 0),
      leastKills: whole('least-kills'),
      limitMs: whole('limit-s') * 1000,
      controls: values.controls,
      rateUnjudged: values['rate-unjudged'],
      timeline: values.timeline,
      json: values.json,
    };
  } catch (error) {
    progress((error as Error).message.split('\n', 1)[0] ?? '');
    return null;
  }
}

/** Whether this version of the embedded engine lets several processes use one file. */
async function isShared(): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'doorbuster-soak-'));
  const options = {
    url: '',
    prefix: '',
    path: join(folder, 'probe.sqlite'),
    ledger: '',
    worker: 0,
    name: 'probe',
    placed: false,
  };
  const engine = await engineOf({
    ...options,
    engine: 'embedded',
    shared: true,
    roles: [],
    mode: 'inbox',
    consumers: 0,
  });
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  const { processes } = connection.capabilities;
  await connection.close();
  rmSync(folder, { recursive: true, force: true });
  return processes === 'many';
}

let runs = 0;

const notJudged = 'not judged';

async function runOf(
  engine: SoakEngine,
  url: string,
  given: Pick<
    RunPlan,
    | 'mode'
    | 'messages'
    | 'floor'
    | 'workers'
    | 'killEveryMs'
    | 'publisherEvery'
    | 'placedKills'
    | 'limitMs'
    | 'stillMs'
    | 'shared'
    | 'timeline'
  >,
): Promise<RunResult> {
  runs += 1;
  const prefix = `soak${process.pid.toString(36)}${systemClock.now().toString(36)}-${runs}.`;
  const told = `${engine}, ${given.messages} messages, ${killingOf(given)}, ${given.mode}`;
  progress(told);
  try {
    const result = await runOnce({ engine, url, prefix, ...given });
    progress(
      `${told}: ${result.perSecond}/s, ${result.kills} kills, lost ${result.lost}, twice ${result.handledTwice}, out of order ${result.orderBroken ?? notJudged}`,
    );
    return result;
  } finally {
    await tidy(engine, url, prefix);
  }
}

function killingOf({ killEveryMs, placedKills }: Pick<RunPlan, 'killEveryMs' | 'placedKills'>): string {
  if (placedKills > 0) return `${placedKills} kills where it harms`;
  return killEveryMs === null ? 'undisturbed' : `a kill each ${killEveryMs} ms`;
}

async function tidy(engine: SoakEngine, url: string, prefix: string): Promise<void> {
  if (engine === 'redis' || engine === 'redis-lists') await removeRedisKeys(url, prefix);
  if (engine === 'kafka') await removeKafkaTopics(url, prefix);
  if (engine !== 'rabbitmq') return;
  await removeRabbitNames(url, { prefix, channel: channelName, subscription: subscriptionName });
  await removeRabbitLadder(url, prefix);
}

async function soak(engine: SoakEngine, url: string, asked: Asked): Promise<EngineResult> {
  const { workers, killEveryMs, publisherEvery, limitMs, messages, rateUnjudged, timeline } = asked;
  const shared = engine === 'embedded' && (await isShared());
  const isOneProcess = engine === 'embedded' && !shared;
  const floor = { kills: asked.leastKills, publisherKills: publisherEvery > 0 && !isOneProcess ? 1 : 0 };
  const base = {
    mode: 'inbox' as Mode,
    workers,
    limitMs,
    shared,
    stillMs,
    timeline,
    placedKills: 0,
  };
  const calm = await runOf(engine, url, {
    ...base,
    messages: Math.min(messages, Math.max(leastUndisturbed, Math.round(messages * undisturbedShare))),
    floor: noFloor,
    killEveryMs: null,
    publisherEvery: 0,
  });
  const killed = await runOf(engine, url, { ...base, messages, floor, killEveryMs, publisherEvery });
  const rate = Number((killed.perSecond / Math.max(1, calm.perSecond)).toFixed(3));
  const violations = [
    ...faultsOf('undisturbed', calm),
    ...faultsOf('with kills', killed),
    ...tooFew(floor, killed),
  ];
  if (rate < leastRate && !rateUnjudged)
    violations.push(`with kills ${rate} of the undisturbed rate, ${leastRate} is wanted`);
  const { lost, handledTwice, orderBroken, kills, publisherKills, seconds } = killed;
  return {
    messages: killed.messages,
    workers,
    processes: isOneProcess ? 1 : workers,
    kills,
    publisherKills,
    lost,
    handledTwice,
    orderBroken,
    perSecondUndisturbed: calm.perSecond,
    perSecondWithKills: killed.perSecond,
    rate,
    leastRate: rateUnjudged ? null : leastRate,
    seconds,
    violations,
  };
}

function faultsOf(name: string, { lost, handledTwice, orderBroken, endedEarly, died }: RunResult): string[] {
  const counts = Object.entries({ lost, handledTwice, orderBroken, died });
  return [
    ...counts
      .filter(([, count]) => count !== null && count > 0)
      .map(([what, count]) => `${name}: ${what} ${count}`),
    ...(endedEarly === null ? [] : [`${name}: ${endedEarly}`]),
  ];
}

/** All of the defects have to be found, or the judge above is blind. */
async function controls(engine: SoakEngine, url: string, asked: Asked): Promise<ControlResult> {
  const { workers, limitMs, timeline } = asked;
  const shared = engine === 'embedded' && (await isShared());
  const killing = { killEveryMs: null, publisherEvery: 0, placedKills: controlKills, floor: noFloor };
  const plan = { workers, limitMs, shared, timeline, messages: controlMessages, stillMs: controlStillMs };
  const open = await runOf(engine, url, { ...plan, ...killing, mode: 'without-inbox' });
  const hasty = await runOf(engine, url, { ...plan, ...killing, mode: 'acknowledge-first' });
  // Where no order is promised there is none to break.
  const late = keepsOrder(engine)
    ? await runOf(engine, url, { ...plan, ...killing, mode: 'work-later' })
    : { kills: 0, orderBroken: null };
  const violations: string[] = [];
  // Each of the killed had at least one message.
  if (open.handledTwice < open.kills)
    violations.push(
      `without an inbox ${open.handledTwice} were found handled twice after ${open.kills} kills`,
    );
  if (hasty.lost < hasty.kills)
    violations.push(`acknowledged before the work, ${hasty.lost} were found lost after ${hasty.kills} kills`);
  if (late.orderBroken !== null && late.orderBroken < late.kills)
    violations.push(
      `with work left for later, ${late.orderBroken} were found out of order of ${late.kills} workers`,
    );
  return {
    kills: open.kills + hasty.kills + late.kills,
    handledTwiceWithoutInbox: open.handledTwice,
    lostWhenAcknowledgedFirst: hasty.lost,
    orderBrokenWhenWorkedLater: late.orderBroken,
    violations,
  };
}

const help = `Usage: npm run -s soak -- --engine NAME [options]

Messages go through an engine to workers that are killed and replaced; nothing may be lost, handled twice or out of order on its key.

  --engine NAME        ${soakEngines.join(', ')}; may be given several times
  --messages N         how many (1000000)
  --workers K          at once (4)
  --kill-every-ms MS   SIGKILL to one of them (1000)
  --kill-publisher-every N
                       each Nth of these kills is the publisher's, who goes on behind what was confirmed (0: none is)
  --least-kills N      the run goes on, past --messages, until it has met so many (1)
  --limit-s S          the run ends as failed after so long (1800)
  --controls           runs with a planted defect, which have to be found
  --rate-unjudged      tell the rate and do not judge it
  --json               one JSON object as the last line
  --help               this text

Exit codes: 0 all of it held, 1 it did not, 2 usage, 3 a server is not there.
`;

async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) {
    process.stdout.write(help);
    return 0;
  }
  const asked = read(argv);
  if (asked === null) {
    progress(help);
    return 2;
  }
  const urls = serverUrls();
  const results: Partial<Record<SoakEngine, EngineResult | ControlResult>> = {};
  for (const engine of asked.engines) {
    const variable = variables[engine];
    const url = variable === undefined ? '' : urls[variable];
    if (url === undefined) {
      progress(`${engine}: ${variable} is not set and no such server runs (npm run services:up)`);
      return 3;
    }
    results[engine] = await (asked.controls ? controls : soak)(engine, url, asked);
  }
  if (asked.json) process.stdout.write(`${JSON.stringify({ engines: results })}\n`);
  else for (const [engine, result] of Object.entries(results)) process.stdout.write(textOf(engine, result));
  return Object.values(results).some(({ violations }) => violations.length > 0) ? 1 : 0;
}

const textOf = (engine: string, { violations, ...figures }: EngineResult | ControlResult): string =>
  `${[
    engine,
    ...Object.entries(figures).map(([name, value]) => `  ${name} ${value ?? notJudged}`),
    ...violations.map((one) => `  VIOLATION ${one}`),
  ].join('\n')}\n`;

process.exitCode = await main(process.argv.slice(2));
