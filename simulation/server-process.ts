/**
 * One life of the simulated server process: the production store, group commit, bus, relay, admission, fulfilment and timekeeper, put together as
 * the server's `main.ts` does, on simulated ports. It ends by `kill`, at any moment and without a word: from then on none of its timers
 * fires, none of its transactions runs and nothing it says reaches anyone.
 *
 * There are two groups of fulfilment workers on one ledger, as two processes would have, so that one can be stopped past its leases.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { MemberKey, SurveyAnswers } from '@doorbuster/core';
import {
  type Bus,
  type CancelTimer,
  type Clock,
  createBus,
  createIds,
  createRelay,
  silentLog,
} from '@doorbuster/messaging';
import {
  embeddedEngineOn,
  openInProcessWriter,
  type TurnReply,
  type Writer,
} from '@doorbuster/messaging/engines/embedded';
import type { SubmissionAnswer } from '../packages/server/src/admission/admission.ts';
import { createAdmission, type RunningAdmission } from '../packages/server/src/admission/create-admission.ts';
import { createEntryQueue } from '../packages/server/src/admission/entry-queue.ts';
import { createMemoryTurnstile } from '../packages/server/src/admission/turnstile.ts';
import { startTimekeeper } from '../packages/server/src/campaign/timekeeper.ts';
import type { MessengerSetting, SourceSetting } from '../packages/server/src/fulfilment/providers.ts';
import { createReconciliation } from '../packages/server/src/fulfilment/reconcile.ts';
import { createPoolSource } from '../packages/server/src/fulfilment/voucher-sources/pool.ts';
import { createFulfilment } from '../packages/server/src/fulfilment/workers.ts';
import type { Ledger, MemberEntry } from '../packages/server/src/ledger.ts';
import {
  type InProcessLedger,
  openInProcessLedger,
} from '../packages/server/src/ledgers/sqlite/in-process.ts';
import { migrate } from '../packages/server/src/ledgers/sqlite/schema.ts';
import { type CampaignBook, createCampaignBook } from '../packages/server/src/live/campaign-book.ts';
import type { Metrics } from '../packages/server/src/live/metrics.ts';
import { deliveryRequested, entrySubmitted } from '../packages/server/src/messages.ts';
import { startPeriodic } from '../packages/server/src/periodic.ts';
import type { Vault } from '../packages/server/src/vault.ts';
import { HandOutFaults, unreliableForward, unreliableQueue } from './bus-faults.ts';
import { DeliveryWatch } from './coverage.ts';
import type { CrashPoint, Machine } from './machine.ts';
import { Pausable } from './pausable.ts';
import { simulatedMessenger, simulatedSource } from './providers.ts';
import type { Seeded } from './seeded.ts';
import { prepareTally, startTally } from './tally.ts';

/** Longer than a provider's call with its time-out, short enough to end within a run. */
const leaseMs = 16_000;
const sweepMs = 3_000;
const reconcileEveryMs = 15_000;
const providerLimits = { timeoutMs: 3_000, breakerMinimumCalls: 1_000 };
const open = { perSecond: 1_000, burst: 1_000 };
/** Share of the tally's transactions that its own file refuses. */
const tallyBusy = 0.03;

export class ServerProcess {
  readonly ledger: InProcessLedger;
  readonly vault: Vault;
  readonly workers: readonly Pausable[] = [new Pausable(), new Pausable()];
  readonly started: Promise<void>;
  /** Resolves once this life is over. */
  readonly killed: Promise<void>;
  readonly db: DatabaseSync;
  readonly #machine: Machine;
  readonly #random: Seeded;
  readonly #clock: Clock;
  readonly #bootedAt: number;
  readonly #timers = new Set<CancelTimer>();
  readonly #bus: Bus;
  readonly #campaigns: CampaignBook;
  readonly #admission: RunningAdmission;
  readonly #handOuts: HandOutFaults;
  readonly #watch: DeliveryWatch;
  readonly #onKilled = new Set<() => void>();
  #alive = true;
  #announceEnd: () => void = () => {};

  constructor(machine: Machine, life: number) {
    const { world, disk } = machine;
    this.#machine = machine;
    this.#random = world.random(`process ${life}`);
    this.#bootedAt = world.now;
    this.#clock = this.#processClock();
    this.#handOuts = new HandOutFaults(world, world.random(`hand-outs ${life}`));
    this.#watch = new DeliveryWatch(world.coverage);
    this.db = disk.open('ledger', migrate);
    this.ledger = openInProcessLedger({
      db: this.db,
      master: machine.master,
      signingKeys: machine.signingKeys,
      clock: this.#clock,
      randomness: world.random(`ledger ${life}`),
      schedule: (run) => this.#transaction(run),
      // Short, so that a small lane has runs of keys whole, half done and interrupted.
      shortestRun: this.#random.integer(2, 16),
      fatal: (error) => {
        throw error;
      },
    });
    machine.commits.attach(this.db);
    this.vault = machine.vault;
    this.#bus = this.#openBus(life);
    this.#campaigns = createCampaignBook(this.ledger.campaigns, this.#clock);
    this.#admission = createAdmission({
      ledger: this.ledger.admission,
      campaigns: this.#campaigns,
      turnstile: createMemoryTurnstile(this.#clock, { address: open, member: open }),
      queue: unreliableQueue(world, createEntryQueue(this.#bus), world.random(`queue ${life}`)),
      vault: this.vault,
      clock: this.#clock,
      randomness: world.random(`admission ${life}`),
      metrics: silentMetrics,
      waitingEntries: 1_000,
      defer: (run) => void this.#clock.setTimer(0, run),
    });
    this.killed = new Promise((resolve) => {
      this.#announceEnd = resolve;
    });
    this.started = this.#start(life);
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** One request of a member, as the HTTP layer passes it on. Rejects with `ConnectionLost` when the process goes before it has answered. */
  enter(campaignId: string, memberKey: MemberKey, given: SurveyAnswers | null): Promise<SubmissionAnswer> {
    return this.call(async () => {
      const campaign = this.#campaigns.peek(campaignId) ?? (await this.#campaigns.find(campaignId));
      const checked = campaign?.survey
        ? campaign.survey.check(given ?? {})
        : { ok: true as const, answers: null, screenedOut: false };
      if (!checked.ok) throw new Error(`the crowd answers what is asked: ${JSON.stringify(checked.faults)}`);
      const { answers, screenedOut } = checked;
      return this.#admission.submit(campaignId, { memberKey, answers, screenedOut });
    });
  }

  /** `entries/mine`. */
  mine(campaignId: string, memberKey: MemberKey): Promise<MemberEntry | null> {
    return this.call(() => this.ledger.admission.entryOf(campaignId, memberKey));
  }

  isPending(campaignId: string, memberKey: MemberKey): boolean {
    return this.#admission.isPending(campaignId, memberKey);
  }

  /** Anything asked of this process from outside: lost when it is killed first. */
  call<T>(ask: () => Promise<T>): Promise<T> {
    if (!this.#alive) return Promise.reject(new ConnectionLost());
    return new Promise((resolve, reject) => {
      const lost = (): void => reject(new ConnectionLost());
      this.#onKilled.add(lost);
      const leave = (tell: () => void): void => {
        this.#onKilled.delete(lost);
        if (!this.#alive) return;
        if (this.#crosses('answer')) return lost();
        tell();
      };
      ask().then(
        (value) => leave(() => resolve(value)),
        (error: unknown) => leave(() => reject(error)),
      );
    });
  }

  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    const idle = this.#machine.disk.crash();
    for (const lost of this.#onKilled) lost();
    this.#announceEnd();
    // Promise jobs of the dead process may still read; after this turn there are none.
    setImmediate(() => idle.forEach((db) => db.close()));
  }

  async #start(life: number): Promise<void> {
    const { world, lostMessages } = this.#machine;
    const doorbells = world.random(`doorbell ${life}`).integer(0, 1);
    this.workers.forEach((worker, i) => this.#startFulfilment(worker, i === doorbells, `${life}.${i}`));
    this.#startTally();
    await this.#bus.start();
    const forward = unreliableForward(world, this.#bus, lostMessages, world.random(`relay ${life}`));
    const relay = createRelay({
      source: this.ledger.outbox,
      bus: forward,
      clock: this.#clock,
      sweepMs,
    });
    this.ledger.onOutbox(() => relay.wake());
    relay.start();
    const page = await this.ledger.campaigns.list({ limit: 200 });
    const running = page.items.filter((campaign) => campaign.lane !== null && campaign.state !== 'closed');
    await this.#admission.start(running.map((campaign) => campaign.id));
    startTimekeeper(this.ledger.campaigns, this.#clock, () => {});
    const reconciliation = createReconciliation({
      ledger: this.ledger,
      bus: this.#bus,
      clock: this.#clock,
      log: silentLog,
    });
    startPeriodic(
      this.#clock,
      reconcileEveryMs,
      async () => void (await reconciliation.runScheduled()),
      () => {},
    );
  }

  #startFulfilment(worker: Pausable, doorbells: boolean, name: string): void {
    const { world } = this.#machine;
    const deliveries = worker.holding(this.#watch.watch(this.ledger.deliveries));
    const clock = worker.clock(this.#clock);
    const deaf = { subscribe: () => ({ started: Promise.resolve(), stop: async () => {} }) };
    createFulfilment({
      ledger: { deliveries },
      bus: doorbells ? this.#bus : (deaf as Pick<Bus, 'subscribe'>),
      vault: this.vault,
      sources: this.#sources(worker, deliveries, name),
      messengers: this.#messengers(worker, name),
      pageUrl: (campaignId) => `https://shop.example/c/${campaignId}`,
      clock,
      randomness: world.random(`fulfilment ${name}`),
      log: silentLog,
      limits: {
        concurrency: 8,
        leaseMs,
        sweepMs,
        attemptsPerProvider: 8,
        backoff: { firstMs: 500, maxMs: 5_000 },
      },
    }).start();
  }

  #sources(worker: Pausable, deliveries: Ledger['deliveries'], name: string): readonly SourceSetting[] {
    const { world, books } = this.#machine;
    const remote = (['idempotent', 'queryable', 'neither'] as const).map((sourceClass) =>
      simulatedSource(world, books, sourceClass, world.random(`source ${name} ${sourceClass}`)),
    );
    const all = [createPoolSource({ deliveries, campaigns: this.ledger.campaigns }), ...remote];
    return all.map((source) => ({
      source: worker.holding(this.#reaching(source), true),
      limits: providerLimits,
    }));
  }

  #messengers(worker: Pausable, name: string): readonly MessengerSetting[] {
    const { world, books } = this.#machine;
    return (['mail', 'sms'] as const).map((carrier) => {
      const messenger = simulatedMessenger(world, books, carrier, world.random(`${carrier} ${name}`));
      return { messenger: worker.holding(this.#reaching(messenger), true), limits: providerLimits };
    });
  }

  #startTally(): void {
    const { world, disk } = this.#machine;
    const db = disk.open('tally', prepareTally);
    startTally(this.#bus, db, this.#clock, async (transaction) => {
      await this.#pause(this.#random.integer(0, 2));
      if (!this.#alive || this.#crosses('tally')) return this.#never();
      db.exec('BEGIN IMMEDIATE');
      transaction();
      if (this.#crosses('tally-inside')) return this.#never();
      if (world.faulty && this.#random.chance(tallyBusy)) {
        db.exec('ROLLBACK');
        throw new Error('the file is busy');
      }
      db.exec('COMMIT');
      await this.#pause(this.#random.integer(0, 2));
    });
  }

  /** Calls of a dead process go nowhere; the answer of a provider may find its caller dead. */
  #reaching<T extends object>(port: T): T {
    return new Proxy(port, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          if (!this.#alive || (this.#isCall(name) && this.#crosses('provider-asked'))) return this.#never();
          const answer: unknown = Reflect.apply(value, target, args);
          if (!(answer instanceof Promise) || !this.#isCall(name)) return answer;
          return answer.then((told: unknown) =>
            !this.#alive || this.#crosses('provider-answered') ? this.#never() : told,
          );
        };
      },
    });
  }

  #isCall(name: string | symbol): boolean {
    return name === 'issue' || name === 'query' || name === 'cancel' || name === 'send';
  }

  #never<T>(): Promise<T> {
    return new Promise(() => {});
  }

  /** True when the process ended right here. */
  #crosses(point: CrashPoint): boolean {
    if (!this.#alive || !this.#machine.crash.strikes(point)) return false;
    this.#machine.world.fault('crash', point);
    this.kill();
    return true;
  }

  #transaction(run: () => void): void {
    const machine = this.#machine;
    const stuck = Math.max(0, machine.stuckUntil - machine.world.now);
    const wait = this.#random.integer(0, 4) + machine.writerDelayMs + stuck;
    this.#clock.setTimer(wait, () => {
      const fault = machine.atNextCommit;
      machine.atNextCommit = null;
      if (fault === 'crash-before-commit') {
        machine.world.fault(fault);
        return this.kill();
      }
      run();
      machine.commits.look();
      if (fault !== 'lost-commit-reply') return;
      machine.world.fault(fault);
      this.kill();
    });
  }

  #openBus(life: number): Bus {
    const { world, disk } = this.#machine;
    const prepare = (db: DatabaseSync): void => void openInProcessWriter(db);
    const bus = createBus({
      engine: embeddedEngineOn(async () => this.#writer(openInProcessWriter(disk.open('bus', prepare)))),
      source: '/doorbuster',
      clock: this.#clock,
      ids: createIds(this.#clock, world.random(`ids ${life}`)),
      randomness: world.random(`jitter ${life}`),
      log: silentLog,
      onFatal: (error) => {
        throw error;
      },
    });
    bus.declare([deliveryRequested, entrySubmitted]);
    return bus;
  }

  /** The bus's writer with time between the question, the commit and the answer. Turns stay in order. */
  #writer(writer: Writer): Writer {
    let last: Promise<unknown> = Promise.resolve();
    return {
      durability: writer.durability,
      run: (turn) => {
        const asked = this.#pause(this.#random.integer(0, 2));
        const before = last;
        const answered = async (): Promise<TurnReply> => {
          await before;
          await asked;
          if (!this.#alive || this.#crosses('bus-asked')) return this.#never<never>();
          const done = await writer.run(turn);
          if (this.#crosses('bus-answered')) return this.#never<never>();
          await this.#pause(this.#random.integer(0, 2));
          return this.#handOuts.pass(done);
        };
        const reply = answered();
        last = reply;
        return reply;
      },
      close: () => writer.close(),
    };
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#clock.setTimer(ms, resolve));
  }

  #processClock(): Clock {
    const { world } = this.#machine;
    return {
      now: () => world.clock.now(),
      monotonic: () => world.now - this.#bootedAt,
      setTimer: (ms, run) => {
        if (!this.#alive) return () => {};
        const cancel = world.clock.setTimer(ms, () => {
          this.#timers.delete(cancel);
          run();
        });
        this.#timers.add(cancel);
        return () => {
          this.#timers.delete(cancel);
          cancel();
        };
      },
    };
  }
}

/** The connection broke: whether the server did it is not known. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

const silentMetrics: Metrics = {
  request: () => {},
  verdict: () => {},
  batch: () => {},
  shed: () => {},
  gauge: () => {},
  counter: () => () => {},
  expose: async () => ({ contentType: 'text/plain', body: '' }),
};
