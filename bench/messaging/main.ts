/**
 * `npm run -s bench:messaging -- [--json] [--quick] [--keyed] [--keyed-only] [--rounds N] [--seconds N] [--profile DIR] [ENGINE...]`
 *
 * What the toolkit costs: publish with confirm, and consume with acknowledgement, through the bus against the bare client of the same server, and the embedded engine
 * against BullMQ and graphile-worker too. Each side is a process of its own; the sides of one comparison follow each other within a round, and the order turns round
 * from round to round, so that a slow minute of the machine meets all of them. With `--keyed` messages with keys too, against what a team builds by hand for them. What counts are the ratios: medians over the rounds, each taken within its round.
 *
 * With --json one object as the last line on stdout, else a table; progress on stderr. Exit codes: 0; 1 when an engine that was named could not be run, or a side
 * failed; 2 usage; 3 when a ratio without keys is below what it has to be (`below`; not with --quick). Without names an engine whose server is not there is told under `notRun`.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readCheckout } from '../../scripts/evidence.ts';
import { BenchProcess } from '../child-process.ts';
import { channelName, subscriptionName } from './contender.ts';
import { fullRun } from './full-run.ts';
import { type Report, reportOf, type RoundRuns, tableOf } from './report.ts';
import {
  hasRedisProgram,
  type OwnRedis,
  removeKafkaTopics,
  removeRabbitLadder,
  removeRabbitNames,
  removeRedisKeys,
  serverUrls,
  startRedis,
} from './servers.ts';
import type { Measured, SideOptions } from './side.ts';
import {
  comparisonOf,
  concurrency,
  type EngineName,
  engineNames,
  inFlight,
  type Kind,
  type Phase,
  phases,
  prefetch,
  type SystemName,
  systems,
  systemsOf,
} from './systems.ts';

interface Asked {
  readonly json: boolean;
  readonly quick: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly profile: string | null;
  readonly kinds: readonly Kind[];
  readonly engines: readonly EngineName[];
  /** True when they were named, so that each has to run. */
  readonly named: boolean;
}

const sizes = {
  full: { warmUpMs: 1_500, storedShare: 1, restMs: 15_000 },
  quick: { warmUpMs: 200, storedShare: 0.03, restMs: 0 },
} as const;

/** Of the stored messages: as long as the warm-up of publishing, or longer. A tenth of a second would measure the compiler of the longer program. */
const warmUpShare = 0.25;

const longestSideMs = 90_000;

const here = fileURLToPath(new URL('.', import.meta.url));
const progress = (text: string): void => void process.stderr.write(`${text}\n`);

function read(argv: readonly string[]): Asked | null {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        profile: { type: 'string' },
        keyed: { type: 'boolean', default: false },
        'keyed-only': { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    const { quick, json } = values;
    const number = (name: string, given: string | undefined, otherwise: number): number => {
      const value = Number(given ?? otherwise);
      if (!(value > 0)) throw new Error(`--${name} is a number above 0`);
      return value;
    };
    const unknown = positionals.find((name) => !engineNames.includes(name as EngineName));
    if (unknown !== undefined) throw new Error(`no engine "${unknown}": ${engineNames.join(', ')}`);
    return {
      json,
      quick,
      rounds: number('rounds', values.rounds, quick ? 1 : fullRun.rounds),
      seconds: number('seconds', values.seconds, quick ? 0.4 : fullRun.seconds),
      profile: values.profile ?? null,
      kinds: values['keyed-only'] ? ['keyed'] : values.keyed ? ['plain', 'keyed'] : ['plain'],
      engines: positionals.length > 0 ? (positionals as EngineName[]) : engineNames,
      named: positionals.length > 0,
    };
  } catch (error) {
    progress((error as Error).message.split('\n', 1)[0] ?? '');
    return null;
  }
}

class Bench {
  readonly notRun: Record<string, string> = {};
  /** Sides that began and did not end well. */
  failures = 0;
  readonly #asked: Asked;
  readonly #folder: string;
  readonly #urls: Record<string, string | undefined>;
  readonly #run = `bench${process.pid.toString(36)}${Date.now().toString(36)}`;
  readonly #redis: OwnRedis[] = [];
  #sides = 0;

  constructor(asked: Asked, folder: string) {
    this.#asked = asked;
    this.#folder = folder;
    this.#urls = { ...serverUrls() };
  }

  async all(): Promise<Report> {
    const engines: EngineName[] = [];
    for (const engine of this.#asked.engines) if (await this.#canRun(engine)) engines.push(engine);
    const rounds: RoundRuns[] = [];
    for (let round = 0; round < this.#asked.rounds; round += 1)
      rounds.push(await this.#round(round, engines));
    const commit = readCheckout(here).head ?? 'unknown';
    const { kinds } = this.#asked;
    return reportOf(engines, kinds, rounds, { notRun: this.notRun, setting: this.#asked, commit });
  }

  async close(): Promise<void> {
    for (const redis of this.#redis) await redis.stop();
    const url = this.#urls['RABBITMQ_URL'];
    if (url !== undefined && this.#asked.engines.includes('rabbitmq'))
      await removeRabbitLadder(url, `${this.#run}.`);
  }

  #systemsOf(engine: EngineName): readonly SystemName[] {
    return systemsOf(engine, this.#asked.kinds);
  }

  /** Starts what the engine's comparison needs; says what cannot be had. */
  async #canRun(engine: EngineName): Promise<boolean> {
    for (const system of this.#systemsOf(engine)) {
      const { needs } = systems[system];
      if (needs === 'own-redis') await this.#ownRedis(system);
      else if (needs !== null && this.#urls[needs] === undefined)
        this.notRun[system] = `${needs} is not set and no such server runs (npm run services:up)`;
    }
    const { toolkit } = comparisonOf(engine, this.#asked.kinds[0] as Kind);
    if (engine === 'kafka' && !(await exists('@doorbuster/messaging/engines/kafka')))
      this.notRun[toolkit] = 'the package has no such engine yet';
    const reason = this.notRun[toolkit];
    if (reason === undefined) return true;
    for (const system of this.#systemsOf(engine)) delete this.notRun[system];
    this.notRun[engine] = reason;
    return false;
  }

  async #ownRedis(system: SystemName): Promise<void> {
    if (!hasRedisProgram()) {
      this.notRun[system] = 'redis-server is not installed';
      return;
    }
    const sync = system === 'bullmq-always' ? 'always' : 'everysec';
    const redis = await startRedis(join(this.#folder, system), sync);
    this.#redis.push(redis);
    this.#urls[system] = redis.url;
  }

  async #round(round: number, engines: readonly EngineName[]): Promise<RoundRuns> {
    const runs = new Map<SystemName, Partial<Record<Phase, Measured>>>();
    for (const engine of engines)
      for (const [kind, phase] of this.#asked.kinds.flatMap((kind) =>
        phases.map((phase) => [kind, phase] as const),
      )) {
        const order = systemsOf(engine, [kind]).filter((system) => this.notRun[system] === undefined);
        for (const system of round % 2 === 0 ? order : order.toReversed()) {
          const measured = await this.#measure(system, phase);
          if (!measured) continue;
          runs.set(system, { ...runs.get(system), [phase]: measured });
          progress(
            `round ${round + 1} ${system.padEnd(22)} ${phase} ${measured.perSecond}/s, ${measured.cpuMicros.toFixed(1)} us of processor`,
          );
        }
      }
    return runs;
  }

  async #measure(system: SystemName, phase: Phase): Promise<Measured | undefined> {
    const options = this.#options(system, phase);
    const { profile } = this.#asked;
    const flags =
      profile === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${join(profile, `${system}-${phase}`)}`];
    mkdirSync(options.setting.folder, { recursive: true });
    const side = new BenchProcess('messaging/side.ts', options, flags);
    // One that hangs is a failure, not a bench without an end.
    const late = setTimeout(() => void side.kill(), longestSideMs);
    try {
      return await side.said<Measured>();
    } catch (error) {
      this.failures += 1;
      progress(`${system} ${phase}: ${(error as Error).message}`);
      return undefined;
    } finally {
      clearTimeout(late);
      await side.stop(10_000);
      rmSync(options.setting.folder, { recursive: true, force: true });
      await this.#tidy(system, options.setting.prefix);
    }
  }

  #options(system: SystemName, phase: Phase): SideOptions {
    const { quick, seconds } = this.#asked;
    const { warmUpMs, storedShare, restMs } = sizes[quick ? 'quick' : 'full'];
    const { needs, stored } = systems[system];
    this.#sides += 1;
    const setting = {
      url: (needs === null ? '' : this.#urls[needs === 'own-redis' ? system : needs]) ?? '',
      prefix: `${this.#run}-${this.#sides}.`,
      folder: join(this.#folder, `side-${this.#sides}`),
      concurrency,
      prefetch,
      keyed: system.endsWith('-keyed'),
    };
    const messages = Math.round(stored * storedShare);
    return {
      system,
      phase,
      setting,
      inFlight,
      restMs,
      warmUpMs,
      warmUpMessages: Math.round(messages * warmUpShare),
      runMs: seconds * 1000,
      stored: messages,
    };
  }

  /** What the toolkit's engines leave on a server on purpose. */
  async #tidy(system: SystemName, prefix: string): Promise<void> {
    const url = (name: string): string => this.#urls[name] as string;
    if (system.startsWith('toolkit-redis')) await removeRedisKeys(url('REDIS_URL'), prefix);
    if (system.startsWith('toolkit-kafka')) await removeKafkaTopics(url('KAFKA_URL'), prefix);
    if (system.startsWith('toolkit-rabbitmq'))
      await removeRabbitNames(url('RABBITMQ_URL'), {
        prefix,
        channel: channelName,
        subscription: subscriptionName,
      });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await import(path);
    return true;
  } catch {
    return false;
  }
}

const help = `Usage: npm run -s bench:messaging -- [options] [ENGINE...]

The toolkit against bare clients, and the embedded engine against two job queues. Engines: ${engineNames.join(', ')}; without one all whose server is there.

  --keyed        messages with keys too: ratios.keyed
  --keyed-only   and no others
  --quick        a smoke run: one round, short
  --rounds N     how often everything is measured; the medians count (${fullRun.rounds})
  --seconds N    how long each side publishes (${fullRun.seconds})
  --profile DIR  keep a processor profile of each side there
  --json         one JSON object as the last line
  --help         this text

Exit codes: 0, 1 an engine that was named could not be run or a side failed, 2 usage,
3 a ratio without keys is below what it has to be: 0.9 of the bare client, 2 times a job queue
(not with --quick).
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
  const folder = mkdtempSync(join(here, '.run-'));
  const bench = new Bench(asked, folder);
  try {
    const report = await bench.all();
    process.stdout.write(asked.json ? `${JSON.stringify(report)}\n` : tableOf(report));
    const missing = asked.named && Object.keys(bench.notRun).length > 0;
    if (bench.failures > 0 || missing) return 1;
    return report.below.length > 0 && !asked.quick ? 3 : 0;
  } finally {
    await bench.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main(process.argv.slice(2));
