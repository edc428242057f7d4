/**
 * One run: the publisher, the workers, and whoever kills one of them at each interval and starts another in its place. It ends when every message is in the
 * ledger and enough kills were met, or when nothing has moved for `stillMs`, or when its time is over; then the judge reads the ledger.
 *
 *   publisher ---> engine ---> worker 1..k ---> ledger          killer: SIGKILL to the oldest worker that has started, a new one for it
 *
 * Each so-maniest kill may be the publisher's instead: the new one goes on behind what was confirmed, and publishes what may be there already again, with its id.
 *
 * With placed kills, workers that stop at a chosen moment (placed-kill.ts) come first, one after the other, and each is killed there.
 *
 * When nothing moves any more, or the time is over, the killing stops and what is there may still be handled: what is missing then is lost, not late.
 * A worker that ends by itself is a fault of the product, not of the run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { judge, type Verdict } from './audit.ts';
import { keepsOrder, type SoakEngine } from './engines.ts';
import { type Kills, totalFor } from './kill-floor.ts';
import { Ledger } from './ledger.ts';
import { Timeline } from './timeline.ts';
import { partFile } from './part-file.ts';
import { hasInbox, lead, type Mode, type PartOptions, stateOf } from './part.ts';
import { atThePoint } from './placed-kill.ts';

export interface RunPlan {
  readonly engine: SoakEngine;
  readonly url: string;
  readonly shared: boolean;
  readonly prefix: string;
  readonly mode: Mode;
  readonly messages: number;
  /** More messages are published until these were met. */
  readonly floor: Kills;
  readonly workers: number;
  /** Null: nobody is killed. */
  readonly killEveryMs: number | null;
  /** Each such kill is the publisher's, who is the host of a shared file as long as it lives; 0: none is. */
  readonly publisherEvery: number;
  /** So many workers are killed at the moment at which the defect of the mode does harm, before the others start. */
  readonly placedKills: number;
  readonly limitMs: number;
  /** When nothing has moved for so long, nothing will: longer than any lease or session of a killed worker. */
  readonly stillMs: number;
  /** Tells on stderr what each worker did in each tenth of a second. */
  readonly timeline: boolean;
}

export interface RunResult extends Verdict, Kills {
  /** As many as were asked for, or more for the sake of kills. */
  readonly messages: number;
  readonly perSecond: number;
  readonly seconds: number;
  /** Not everything had been handled when it was ended. */
  readonly endedEarly: string | null;
  /** Processes that ended without having been told to. */
  readonly died: number;
}

/** How long a first effect may take. */
const longestStartMs = 60_000;
const lookMs = 50;
const mostDrainMs = 60_000;
/** What is out twice by then would still be handled. */
const afterwardsMs = 2_000;
const flags = ['--disable-warning=ExperimentalWarning'];
const compileCache = fileURLToPath(new URL('../../.cache/soak-compiled', import.meta.url));

class Part {
  readonly worker: number;
  readonly name: string;
  readonly #child: ChildProcess;
  /** Told to end, or killed. */
  #asked = false;
  ready = false;
  #reached: () => void = () => {};
  /** Resolves when it is at the moment that it was to stop at. */
  readonly atThePoint = new Promise<void>((resolve) => {
    this.#reached = resolve;
  });

  constructor(file: string, options: PartOptions, onReady: () => void, onDeath: () => void) {
    this.worker = options.worker;
    this.name = options.name;
    mkdirSync(compileCache, { recursive: true });
    // The channel is only for its end: whoever loses it knows that the run is gone.
    this.#child = spawn(process.execPath, [...flags, file, JSON.stringify(options)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
    });
    this.#child.on('message', (said) => {
      if (said === atThePoint) return this.#reached();
      this.ready = true;
      onReady();
    });
    this.#child.once('exit', (code) => {
      if (!this.#asked && code !== 0) onDeath();
    });
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#asked = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await exit;
    clearTimeout(late);
  }
}

export async function runOnce(plan: RunPlan): Promise<RunResult> {
  const program = await partFile();
  const folder = mkdtempSync(join(tmpdir(), 'doorbuster-soak-'));
  const run = new Soak(plan, folder, program);
  try {
    return await run.run();
  } finally {
    await run.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

class Soak {
  readonly #plan: RunPlan;
  readonly #folder: string;
  readonly #program: string;
  readonly #ledger: Ledger;
  readonly #timeline: Timeline | undefined;
  readonly #workers: Part[] = [];
  #publisher: Part | undefined;
  #total: number;
  #started = 0;
  #kills = 0;
  #publisherKills = 0;
  #died = 0;
  /** Nobody is killed any more. */
  #calm = false;

  constructor(plan: RunPlan, folder: string, program: string) {
    this.#plan = plan;
    this.#folder = folder;
    this.#program = program;
    this.#ledger = new Ledger(join(folder, 'ledger.sqlite'));
    this.#total = plan.messages;
    this.#ledger.goOnTo(this.#total);
    if (plan.timeline)
      this.#timeline = new Timeline(this.#ledger, (line) => process.stderr.write(`${line}\n`));
  }

  /** The embedded engine without sharing: everything is in the one process that owns the file, and that is the one killed. */
  get #oneProcess(): boolean {
    return this.#plan.engine === 'embedded' && !this.#plan.shared;
  }

  async run(): Promise<RunResult> {
    const { engine, workers } = this.#plan;
    if (!this.#oneProcess) {
      this.#publisher = this.#newPublisher();
      await this.#firstConfirmed();
    }
    while (this.#kills < this.#plan.placedKills) await this.#killAtThePoint();
    for (let index = 0; index < (this.#oneProcess ? 1 : workers); index += 1)
      this.#workers.push(this.#worker(`worker-${index}`));
    const began = await this.#firstEffect();
    const killing = this.#killOneByOne();
    const endedEarly = await this.#allHandled(began);
    const ended = performance.now();
    this.#calm = true;
    await killing;
    await sleep(afterwardsMs);
    await this.end();
    if (endedEarly !== null) process.stderr.write(`${await stateOf(this.#options([], 0, 'auditor'))}\n`);
    const verdict = judge(this.#ledger.all(), this.#total, { order: keepsOrder(engine) });
    const handled = this.#total - verdict.lost;
    const seconds = (ended - began) / 1000;
    return {
      ...verdict,
      messages: this.#total,
      kills: this.#kills,
      publisherKills: this.#publisherKills,
      perSecond: Math.round(handled / seconds),
      seconds: Number(seconds.toFixed(1)),
      endedEarly,
      died: this.#died,
    };
  }

  async #killAtThePoint(): Promise<void> {
    const victim = this.#worker('worker-0', true);
    this.#workers.push(victim);
    const over = new AbortController();
    const late = sleep(longestStartMs, 'late', over).catch(() => 'over');
    if ((await Promise.race([victim.atThePoint, late])) === 'late')
      throw new Error(`a worker was not where it was to be killed within ${longestStartMs / 1000} s`);
    over.abort();
    this.#workers.splice(this.#workers.indexOf(victim), 1);
    await victim.end('SIGKILL');
    this.#kills += 1;
  }

  #newPublisher(): Part {
    return this.#part(['publish'], 0, 'publisher');
  }

  #worker(name: string, placed = false): Part {
    this.#started += 1;
    return this.#part(this.#oneProcess ? ['publish', 'handle'] : ['handle'], this.#started, name, placed);
  }

  #options(roles: PartOptions['roles'], worker: number, name: string, placed = false): PartOptions {
    const { engine, url, shared, prefix, mode } = this.#plan;
    return {
      engine,
      url,
      shared,
      prefix,
      mode,
      roles,
      worker,
      name,
      placed,
      path: join(this.#folder, 'bus.sqlite'),
      ledger: join(this.#folder, 'ledger.sqlite'),
      consumers: this.#oneProcess ? this.#plan.workers : 1,
    };
  }

  #part(roles: PartOptions['roles'], worker: number, name: string, placed = false): Part {
    this.#timeline?.mark(`start ${worker}`);
    const onReady = (): void => this.#timeline?.mark(`ready ${worker}`);
    return new Part(this.#program, this.#options(roles, worker, name, placed), onReady, () => {
      this.#died += 1;
    });
  }

  async #killOneByOne(): Promise<void> {
    const { killEveryMs, publisherEvery } = this.#plan;
    if (killEveryMs === null) return;
    for (let turn = 1; ; turn += 1) {
      const isPublishers = !this.#oneProcess && publisherEvery > 0 && turn % publisherEvery === 0;
      const victim = await this.#victimIn(killEveryMs, isPublishers);
      if (!victim) return;
      this.#timeline?.mark(`kill ${victim.worker}`);
      if (isPublishers) await this.#replacePublisher(victim);
      else await this.#replaceWorker(victim);
    }
  }

  /** Not before that time, and not before it has started; undefined when the killing is over. */
  async #victimIn(killEveryMs: number, isPublisher: boolean): Promise<Part | undefined> {
    const due = performance.now() + killEveryMs;
    while (!this.#calm) {
      const leftMs = due - performance.now();
      await sleep(leftMs > 0 ? Math.min(leftMs, lookMs) : lookMs);
      if (this.#calm || performance.now() < due) continue;
      const victim = isPublisher ? this.#publisher : this.#oldestStarted();
      if (victim?.ready) return victim;
    }
    return undefined;
  }

  async #replaceWorker(victim: Part): Promise<void> {
    this.#workers.splice(this.#workers.indexOf(victim), 1);
    await victim.end('SIGKILL');
    this.#kills += 1;
    if (!this.#calm) this.#workers.push(this.#worker(victim.name));
  }

  /** Also when the killing ended meanwhile: what nobody publishes any more would look lost. */
  async #replacePublisher(victim: Part): Promise<void> {
    await victim.end('SIGKILL');
    this.#kills += 1;
    this.#publisherKills += 1;
    this.#publisher = this.#newPublisher();
  }

  #oldestStarted(): Part | undefined {
    return this.#workers.find(({ ready }) => ready);
  }

  /** The publisher has made the subscription by then: workers find it, and no message was published before it. */
  async #firstConfirmed(): Promise<void> {
    const end = performance.now() + longestStartMs;
    while (this.#ledger.confirmed() === 0 && performance.now() < end) await sleep(lookMs);
  }

  async #firstEffect(): Promise<number> {
    const end = performance.now() + longestStartMs;
    while (this.#ledger.effects() === 0 && performance.now() < end) await sleep(lookMs);
    return performance.now();
  }

  /** Null when everything was handled, else why the killing was ended before that. */
  async #allHandled(began: number): Promise<string | null> {
    const { limitMs, stillMs } = this.#plan;
    let why: string | null = null;
    let before = 0;
    let movedAt = began;
    for (;;) {
      const effects = this.#ledger.effects();
      if (why === null) this.#goOnUntilKilled();
      if (this.#isDone(effects)) return why;
      const now = performance.now();
      if (effects !== before) movedAt = now;
      before = effects;
      const still = now - movedAt > stillMs;
      const late = now - began > limitMs;
      if (still && why !== null) return why;
      if (late && now - began > limitMs + mostDrainMs) return why;
      if ((still || late) && why === null) {
        why = still ? `nothing was handled for ${stillMs / 1000} s` : `not done after ${limitMs / 1000} s`;
        this.#calm = true;
        movedAt = now;
      }
      await sleep(effects >= this.#total ? 500 : lookMs);
    }
  }

  #goOnUntilKilled(): void {
    const run = { total: this.#total, confirmed: this.#ledger.confirmed(), step: lead };
    const met = { kills: this.#kills, publisherKills: this.#publisherKills };
    const total = totalFor(run, this.#plan.floor, met);
    if (total > this.#total) this.#ledger.goOnTo(total);
    this.#total = total;
  }

  /** Without an inbox there are more effects than messages; counting them apart is dear, so it is done near the end only. */
  #isDone(effects: number): boolean {
    const { mode } = this.#plan;
    return effects >= this.#total && (hasInbox(mode) || this.#ledger.distinct() >= this.#total);
  }

  async end(): Promise<void> {
    this.#calm = true;
    this.#timeline?.stop();
    const parts = [...this.#workers.splice(0), ...(this.#publisher ? [this.#publisher] : [])];
    this.#publisher = undefined;
    await Promise.all(parts.map((one) => one.end('SIGTERM')));
  }
}
