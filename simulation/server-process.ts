/**
 * One life of the simulated server process: the production store, group commit, bus, relay, admission, fulfilment and timekeeper, put together as
 * the server's `main.ts` does, on simulated ports. It ends by `kill`, at any moment and without a word: from then on none of its timers
 * fires, none of its transactions runs and nothing it says reaches anyone.
 *
 * There are two groups of fulfilment workers on one ledger, as two processes would have, so that one can be stopped past its leases.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { MemberKey } from '@doorbuster/core';
import {
  type Bus,
  type CancelTimer,
  type Clock,
  createBus,
  createIds,
  createRelay,
  silentLog,
} from '@doorbuster/messaging';
import { embeddedEngineOn, openInProcessWriter, type Writer } from '@doorbuster/messaging/engines/embedded';
import type { Submission, SubmissionAnswer } from '../packages/server/src/admission/admission.ts';
import { createAdmission, type RunningAdmission } from '../packages/server/src/admission/create-admission.ts';
import { createEntryQueue } from '../packages/server/src/admission/entry-queue.ts';
import { createMemoryTurnstile } from '../packages/server/src/admission/turnstile.ts';
import { startTimekeeper } from '../packages/server/src/campaign/timekeeper.ts';
import type { MessengerSetting, SourceSetting } from '../packages/server/src/fulfilment/providers.ts';
import { createPoolSource } from '../packages/server/src/fulfilment/voucher-sources/pool.ts';
import { createFulfilment } from '../packages/server/src/fulfilment/workers.ts';
import type { Ledger, MemberEntry } from '../packages/server/src/ledger.ts';
import {
  type InProcessLedger,
  openInProcessLedger,
} from '../packages/server/src/ledgers/sqlite/in-process.ts';
import { createCampaignBook } from '../packages/server/src/live/campaign-book.ts';
import type { Metrics } from '../packages/server/src/live/metrics.ts';
import { deliveryRequested, entrySubmitted } from '../packages/server/src/messages.ts';
import type { SigningKey } from '../packages/server/src/secrets.ts';
import { Vault } from '../packages/server/src/vault.ts';
import type { CommitWatch } from './commit-watch.ts';
import type { Defect } from './defects.ts';
import type { Disk } from './disk.ts';
import { Pausable } from './pausable.ts';
import { type ProviderBooks, simulatedMessenger, simulatedSource } from './providers.ts';
import type { Seeded } from './seeded.ts';
import type { World } from './world.ts';

/** What stays when a process goes. */
export interface Machine {
  readonly world: World;
  readonly disk: Disk;
  readonly books: ProviderBooks;
  readonly commits: CommitWatch;
  readonly master: Uint8Array;
  readonly signingKeys: readonly SigningKey[];
  readonly defect: Defect;
  /** Extra time of every transaction while the writer is slow, ms. */
  writerDelayMs: number;
  /** What happens at the next transaction of the ledger; null: nothing. */
  atNextCommit: 'crash-before-commit' | 'lost-commit-reply' | null;
}

const providerLimits = { timeoutMs: 3_000, breakerMinimumCalls: 1_000 };
const open = { perSecond: 1_000, burst: 1_000 };

export class ServerProcess {
  readonly ledger: Ledger;
  readonly vault: Vault;
  readonly workers: readonly Pausable[] = [new Pausable(), new Pausable()];
  readonly started: Promise<void>;
  /** Resolves once this life is over. */
  readonly killed: Promise<void>;
  readonly #machine: Machine;
  readonly #random: Seeded;
  readonly #db: DatabaseSync;
  readonly #inner: InProcessLedger;
  readonly #clock: Clock;
  readonly #bootedAt: number;
  readonly #timers = new Set<CancelTimer>();
  readonly #bus: Bus;
  readonly #admission: RunningAdmission;
  readonly #onKilled = new Set<() => void>();
  #alive = true;
  #announceEnd: () => void = () => {};

  constructor(machine: Machine, life: number) {
    const { world, disk, defect } = machine;
    this.#machine = machine;
    this.#random = world.random(`process ${life}`);
    this.#bootedAt = world.now;
    this.#clock = this.#processClock();
    this.#db = disk.open('ledger');
    this.#inner = openInProcessLedger({
      db: this.#db,
      master: machine.master,
      signingKeys: machine.signingKeys,
      clock: defect.ledgerClock(this.#clock),
      randomness: world.random(`ledger ${life}`),
      schedule: (run) => this.#transaction(run),
      fatal: (error) => {
        throw error;
      },
    });
    machine.commits.attach(this.#db);
    this.ledger = defect.ledger(this.#inner);
    this.vault = new Vault(machine.master);
    this.#bus = this.#openBus(life);
    const campaigns = createCampaignBook(this.ledger.campaigns, this.#clock);
    this.#admission = createAdmission({
      ledger: this.ledger.admission,
      campaigns,
      turnstile: createMemoryTurnstile(this.#clock, { address: open, member: open }),
      queue: defect.queue(createEntryQueue(this.#bus)),
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

  /** One request of a member. Rejects with `ConnectionLost` when the process goes before it has answered. */
  submit(campaignId: string, submission: Submission): Promise<SubmissionAnswer> {
    return this.call(() => this.#admission.submit(campaignId, submission));
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
      const forget = (): void => void this.#onKilled.delete(lost);
      ask().then(
        (value) => {
          forget();
          if (this.#alive) resolve(value);
        },
        (error: unknown) => {
          forget();
          if (this.#alive) reject(error);
        },
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

  verify(): ReturnType<Ledger['verify']> {
    return this.#inner.verify();
  }

  get db(): DatabaseSync {
    return this.#db;
  }

  async #start(life: number): Promise<void> {
    const { world, defect } = this.#machine;
    const doorbells = world.random(`doorbell ${life}`).integer(0, 1);
    this.workers.forEach((worker, i) => this.#startFulfilment(worker, i === doorbells, `${life}.${i}`));
    await this.#bus.start();
    const relay = createRelay({ source: this.#inner.outbox, bus: this.#bus, clock: this.#clock });
    this.#inner.onOutbox(() => relay.wake());
    relay.start();
    const page = await this.ledger.campaigns.list({ limit: 200 });
    const running = page.items.filter((campaign) => campaign.lane !== null && campaign.state !== 'closed');
    await this.#admission.start(running.map((campaign) => campaign.id));
    startTimekeeper(this.ledger.campaigns, defect.ledgerClock(this.#clock), () => {});
  }

  #startFulfilment(worker: Pausable, doorbells: boolean, name: string): void {
    const { world, defect } = this.#machine;
    const deliveries = worker.holding(defect.deliveries(this.ledger.deliveries));
    const clock = worker.clock(this.#clock);
    const deaf = { subscribe: () => ({ started: Promise.resolve(), stop: async () => {} }) };
    createFulfilment({
      ledger: { deliveries },
      bus: doorbells ? this.#bus : (deaf as Pick<Bus, 'subscribe'>),
      vault: defect.transactionIds(this.vault),
      sources: this.#sources(worker, deliveries, name),
      messengers: this.#messengers(worker, name),
      pageUrl: (campaignId) => `https://shop.example/c/${campaignId}`,
      clock,
      randomness: world.random(`fulfilment ${name}`),
      log: silentLog,
      limits: {
        concurrency: 8,
        leaseMs: defect.trustedLeaseMs,
        sweepMs: 1_000,
        attemptsPerProvider: 8,
        backoff: { firstMs: 500, maxMs: 6_000 },
      },
    }).start();
  }

  #sources(worker: Pausable, deliveries: Ledger['deliveries'], name: string): readonly SourceSetting[] {
    const { world, books, defect } = this.#machine;
    const remote = (['idempotent', 'queryable'] as const).map((sourceClass) => {
      const random = world.random(`source ${name} ${sourceClass}`);
      return defect.source(simulatedSource(world, books, sourceClass, random));
    });
    const all = [createPoolSource({ deliveries, campaigns: this.ledger.campaigns }), ...remote];
    return all.map((source) => ({
      source: worker.holding(this.#reaching(source), true),
      limits: providerLimits,
    }));
  }

  #messengers(worker: Pausable, name: string): readonly MessengerSetting[] {
    const { world, books, defect } = this.#machine;
    const mail = defect.messenger(simulatedMessenger(world, books, world.random(`messenger ${name}`)));
    return [{ messenger: worker.holding(this.#reaching(mail), true), limits: providerLimits }];
  }

  /** Calls of a dead process go nowhere. */
  #reaching<T extends object>(port: T): T {
    return new Proxy(port, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown =>
          this.#alive ? Reflect.apply(value, target, args) : new Promise(() => {});
      },
    });
  }

  #transaction(run: () => void): void {
    const machine = this.#machine;
    const wait = this.#random.integer(0, 4) + machine.writerDelayMs;
    this.#clock.setTimer(wait, () => {
      const fault = machine.atNextCommit;
      machine.atNextCommit = null;
      if (fault === 'crash-before-commit') {
        machine.world.fault(fault);
        return this.kill();
      }
      machine.disk.beforeCommit('ledger');
      run();
      machine.commits.look();
      if (fault !== 'lost-commit-reply') return;
      machine.world.fault(fault);
      this.kill();
    });
  }

  #openBus(life: number): Bus {
    const { world, disk } = this.#machine;
    const bus = createBus({
      engine: embeddedEngineOn(async () => this.#writer(openInProcessWriter(disk.open('bus')))),
      source: '/doorbuster',
      clock: this.#clock,
      ids: createIds(this.#clock, world.random(`ids ${life}`)),
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
        const reply = last.then(async () => {
          await asked;
          if (!this.#alive) return new Promise<never>(() => {});
          this.#machine.disk.beforeCommit('bus');
          const done = await writer.run(turn);
          await this.#pause(this.#random.integer(0, 2));
          return done;
        });
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
