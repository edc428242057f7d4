/**
 * One system measured once: its processes started on a fresh copy of what was prepared, loaded, watched, ended. A run in which the generator had no
 * headroom, or somebody else was on the processors, says nothing of the system: it carries its `fault` and counts for nothing.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BenchProcess } from './child-process.ts';
import { type MachineCpu, machineCpu, type ProcessCpu, processCpu } from './cpu.ts';
import type { GeneratorOptions, Measured } from './generator.ts';
import type { MailSinkReady, Mails } from './mail-sink.ts';
import {
  type BaselineOptions,
  comparison,
  preparedFiles,
  type Ready,
  type Scenario,
  type ServerOptions,
} from './system.ts';

export interface Plan {
  readonly seconds: number;
  readonly warmUpMs: number;
  readonly connections: number;
  /** Where `prepare.ts` left its files. */
  readonly prepared: string;
  /** Of those with a session, so many may be accepted. */
  readonly units: number;
  readonly campaigns: number;
  /** How long the deliveries are watched after an `admission` run. */
  readonly drainMs: number;
  readonly profile: string | null;
}

/** Of one core. */
export interface Shares {
  readonly generator: number;
  /** Null where the machine does not tell. */
  readonly others: number | null;
  readonly steal: number | null;
}
export interface CpuPerRequest {
  readonly server: number;
  readonly main: number;
  /** Null where the system has no ledger. */
  readonly writer: number | null;
}
export interface Deliveries {
  readonly duringRun: number;
  readonly perSecondDuringRun: number;
  /** Entries accepted and not delivered when the load ended. */
  readonly backlogAtEnd: number;
  readonly perSecondAfterwards: number;
}
export interface Run extends Measured {
  readonly shares: Shares;
  readonly cpuMicrosPerRequest: CpuPerRequest | null;
  readonly deliveries: Deliveries | null;
  readonly firstRequestToLastDeliveryMs: number | null;
  /** Why it is void. */
  readonly fault: string | null;
}

/** With less than this left, the generator may be what bounds a run. */
const mostGenerator = 0.85;
/** What everybody else, the kernel's own threads among them, may take of one core. */
export const mostOthers = 0.1;
const mostSteal = 0.05;
const mailsPerSecond = 10_000;
const settledMs = 300;
const longestWaitMs = 60_000;

const here = fileURLToPath(new URL('.', import.meta.url));
export const temporaryDirectory = (): string => mkdtempSync(join(here, '.run-'));

export async function measure(name: Scenario, plan: Plan): Promise<Run> {
  const directory = temporaryDirectory();
  const processes: BenchProcess[] = [];
  try {
    const subject = await start(name, plan, directory, processes);
    return await new Round(name, plan, subject).run();
  } finally {
    for (const process of processes.reverse()) await process.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

interface Subject {
  readonly server: BenchProcess;
  readonly url: string;
  /** Null for a baseline. */
  readonly sink: BenchProcess | null;
}

async function start(
  name: Scenario,
  plan: Plan,
  directory: string,
  processes: BenchProcess[],
): Promise<Subject> {
  const compared = comparison(name);
  const flags = plan.profile === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${join(plan.profile, name)}`];
  const begun = (file: string, options: object, nodeFlags: readonly string[] = []): BenchProcess => {
    const process = new BenchProcess(file, options, nodeFlags);
    processes.push(process);
    return process;
  };
  const secretsFile = join(plan.prepared, preparedFiles.secrets);
  if ('baseline' in compared) {
    const answerBytes = compared.answerBytes ?? null;
    const options: BaselineOptions = { directory, secretsFile, units: plan.units, answerBytes };
    const server = begun(compared.baseline, options, flags);
    return { server, url: (await server.said<Ready>()).url, sink: null };
  }
  const dataDir = join(directory, 'data');
  mkdirSync(dataDir);
  cpSync(join(plan.prepared, compared.installation), dataDir, { recursive: true });
  const sink = begun('mail-sink.ts', {});
  const { port: mailPort } = await sink.said<MailSinkReady>();
  const server = begun(
    'doorbuster-server.ts',
    { dataDir, mailPort, mailsPerSecond } satisfies ServerOptions,
    flags,
  );
  return { server, url: (await server.said<Ready>()).url, sink };
}

/** What was used until a moment. */
interface Moment {
  readonly server: ProcessCpu | null;
  readonly sink: ProcessCpu | null;
  readonly machine: MachineCpu | null;
  readonly mails: number;
}

class Round {
  readonly #name: Scenario;
  readonly #plan: Plan;
  readonly #subject: Subject;

  constructor(name: Scenario, plan: Plan, subject: Subject) {
    this.#name = name;
    this.#plan = plan;
    this.#subject = subject;
  }

  async run(): Promise<Run> {
    const compared = comparison(this.#name);
    const rehearsed = 'rehearsal' in compared && compared.rehearsal === true;
    if (rehearsed) await this.#rehearse();
    const spread = 'spread' in compared && compared.spread === true;
    const { warmUpMs, seconds, campaigns } = this.#plan;
    const generator = this.#generator({
      sessions: join(this.#plan.prepared, spread ? preparedFiles.spread : preparedFiles.sessions),
      campaigns: spread ? campaigns : 1,
      warmUpMs: rehearsed ? 0 : warmUpMs,
      runMs: seconds * 1000,
    });
    await generator.said();
    const from = await this.#moment();
    await generator.said();
    const to = await this.#moment();
    const measured = await generator.said<Measured>();
    const shares = sharesOf(measured, from, to);
    return {
      ...measured,
      shares,
      cpuMicrosPerRequest: cpuPerRequest(measured.requests, from.server, to.server),
      deliveries: this.#name === 'admission' ? await this.#deliveries(measured, from, to) : null,
      firstRequestToLastDeliveryMs: rehearsed ? await this.#lastDelivery(measured, from.mails) : null,
      fault: faultOf(shares),
    };
  }

  #generator(
    load: Pick<GeneratorOptions, 'sessions' | 'campaigns' | 'warmUpMs' | 'runMs'> & { campaign?: number },
  ): BenchProcess {
    const { connections } = this.#plan;
    const { url } = this.#subject;
    return new BenchProcess('generator.ts', {
      campaign: 0,
      from: 0,
      ...load,
      url,
      connections,
    } satisfies GeneratorOptions);
  }

  /** The same crowd to another campaign, until its last mail: what is measured then is a server that has run, without a backlog. */
  async #rehearse(): Promise<void> {
    const { prepared, warmUpMs } = this.#plan;
    const sessions = join(prepared, preparedFiles.rehearsal);
    const rehearsal = this.#generator({ sessions, campaign: 1, campaigns: 1, warmUpMs: 0, runMs: warmUpMs });
    await rehearsal.said();
    await rehearsal.said();
    const { accepted } = await rehearsal.said<Measured>();
    await this.#settled(accepted);
  }

  async #moment(): Promise<Moment> {
    const { server, sink } = this.#subject;
    return {
      server: processCpu(server.pid),
      sink: sink && processCpu(sink.pid),
      machine: machineCpu(),
      mails: await this.#mails(),
    };
  }

  async #mails(): Promise<number> {
    return (await this.#subject.sink?.ask<Mails>('mails'))?.count ?? 0;
  }

  /** Waits until so many mails are there and no more come; the last of them. Null: it took too long. */
  async #settled(count: number): Promise<Mails | null> {
    const { sink } = this.#subject;
    const until = performance.now() + longestWaitMs;
    while (sink && performance.now() < until) {
      const mails = await sink.ask<Mails>('mails');
      if (mails.count >= count && Date.now() - mails.lastAt > settledMs) return mails;
      await sleep(50);
    }
    return null;
  }

  async #lastDelivery({ accepted, firstRequestAt }: Measured, before: number): Promise<number | null> {
    const last = await this.#settled(before + accepted);
    return last && last.lastAt - firstRequestAt;
  }

  async #deliveries({ accepted, elapsedMs }: Measured, from: Moment, to: Moment): Promise<Deliveries> {
    const duringRun = to.mails - from.mails;
    await sleep(this.#plan.drainMs);
    const afterwards = (await this.#mails()) - to.mails;
    return {
      duringRun,
      perSecondDuringRun: Math.round((duringRun / elapsedMs) * 1000),
      backlogAtEnd: accepted - to.mails,
      perSecondAfterwards: Math.round((afterwards / this.#plan.drainMs) * 1000),
    };
  }
}

const hundredth = (value: number): number => Math.round(value * 100) / 100;

function sharesOf({ cpuMs, elapsedMs }: Measured, from: Moment, to: Moment): Shares {
  const generator = hundredth(cpuMs / elapsedMs);
  if (!from.machine || !to.machine || !from.server || !to.server)
    return { generator, others: null, steal: null };
  const ours = cpuMs + to.server.total - from.server.total + (to.sink?.total ?? 0) - (from.sink?.total ?? 0);
  const others = (to.machine.busy - from.machine.busy - ours) / elapsedMs;
  const steal = (to.machine.steal - from.machine.steal) / elapsedMs;
  return { generator, others: Math.max(0, hundredth(others)), steal: hundredth(steal) };
}

function cpuPerRequest(
  requests: number,
  from: ProcessCpu | null,
  to: ProcessCpu | null,
): CpuPerRequest | null {
  if (!from || !to || requests === 0) return null;
  const each = (ms: number): number => Math.round((ms * 10_000) / requests) / 10;
  return {
    server: each(to.total - from.total),
    main: each(to.main - from.main),
    writer: to.writer === null || from.writer === null ? null : each(to.writer - from.writer),
  };
}

function faultOf({ generator, others, steal }: Shares): string | null {
  if (generator > mostGenerator) return `the generator had no headroom (${generator} of a core)`;
  if (others !== null && others > mostOthers) return `others used ${others} of a core`;
  if (steal !== null && steal > mostSteal) return `the hypervisor took ${steal} of a core`;
  return null;
}
