/**
 * One seed from start to verdict: prepare the shop, let the crowd and the faults loose, mend everything, wait a minute of simulated time, audit; and
 * sometimes let the retention follow, with a crash in its middle.
 */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { SigningKey } from '../packages/server/src/secrets.ts';
import { Vault } from '../packages/server/src/vault.ts';
import { audit, type Finding } from './auditor.ts';
import { Book } from './book.ts';
import { LostMessages } from './bus-faults.ts';
import { CommitWatch } from './commit-watch.ts';
import { Crowd, Network } from './crowd.ts';
import { Disk } from './disk.ts';
import type { FaultKind } from './fault-kinds.ts';
import { Faults } from './faults.ts';
import { everyMessageOnce, exportIsTrue, personalDataOf, retentionIsExact } from './last-audit.ts';
import { ArmedCrash, type Machine } from './machine.ts';
import { Operator } from './operator.ts';
import { calmAfterMs, drawPlan, leastFaultKinds, leastFaults, type Plan, type Step } from './plan.ts';
import { ProviderBooks } from './providers.ts';
import { Restores } from './restore.ts';
import { ServerProcess } from './server-process.ts';
import { drawShop, prepareShop, type Shop } from './shop.ts';
import { World } from './world.ts';

/** Parts of a seed that are left out: steps of the plan that are kept (null: all), and faults of calls that do not happen. */
export interface Part {
  readonly keep: ReadonlySet<number> | null;
  readonly without: ReadonlySet<FaultKind>;
}
export const whole: Part = { keep: null, without: new Set() };

export interface SeedResult {
  readonly seed: string;
  readonly commands: number;
  readonly faults: ReadonlyMap<FaultKind, number>;
  readonly findings: readonly Finding[];
  readonly simulatedMs: number;
  readonly traceHash: string;
  /** The trace, for the report of a finding. */
  readonly history: readonly string[];
  readonly coverage: ReadonlyMap<string, number>;
  /** Numbers of the steps that were run. */
  readonly steps: readonly number[];
}

const calmMs = 62_000;
const restartMs = { from: 50, to: 2_500 };
const preparedMs = 4_000;
/** Share of the runs that end with a retention. */
const retentionShare = 0.25;
const topUps = ['slow-writer', 'clock-skew', 'clock-step', 'disk-full', 'crash-before-commit'] as const;

export async function runSeed(seed: string, part: Part = whole): Promise<SeedResult> {
  return new Run(seed, part).toEnd();
}

/** What a promise of the code under test rejected with while nobody listened; set while a run goes on. */
let unheard: ((error: unknown) => void) | null = null;
process.on('unhandledRejection', (error) => {
  if (unheard === null) throw error;
  unheard(error);
});

class Run {
  readonly #world: World;
  readonly #machine: Machine;
  readonly #shop: Shop;
  readonly #book = new Book();
  readonly #crowd: Crowd;
  readonly #operator: Operator;
  readonly #faults: Faults;
  readonly #restores: Restores;
  readonly #plan: Plan;
  readonly #past: Finding[] = [];
  readonly #part: Part;
  #server: ServerProcess | null = null;
  #commands = 0;
  #lives = 0;
  #ended = false;

  constructor(seed: string, part: Part) {
    const world = new World(seed, part.without);
    const master = world.random('master').bytes(32);
    const vault = new Vault(master);
    this.#part = part;
    this.#world = world;
    this.#machine = {
      world,
      disk: new Disk(),
      books: new ProviderBooks(),
      commits: new CommitWatch(world),
      lostMessages: new LostMessages(),
      master,
      vault,
      signingKeys: [signingKeyOf(world)],
      crash: new ArmedCrash(),
      standstills: [],
      writerDelayMs: 0,
      stuckUntil: 0,
      atNextCommit: null,
    };
    this.#shop = drawShop(world, vault);
    this.#plan = drawPlan(world, this.#shop);
    const server = (): ServerProcess | null => (this.#server?.alive ? this.#server : null);
    const bug = (error: unknown): void => this.#book.bug(error);
    const network = new Network(world, server);
    this.#crowd = new Crowd(world, this.#book, network);
    this.#operator = new Operator(world, this.#book, network);
    this.#restores = new Restores(this.#machine, this.#book, (db) => {
      network.shut();
      this.#judgePast(db);
    });
    this.#faults = new Faults({
      machine: this.#machine,
      shop: this.#shop,
      server,
      operator: this.#operator,
      restores: this.#restores,
      bug,
    });
    this.#machine.books.onSending = (campaignId, seq) => this.#faults.sending(campaignId, seq);
  }

  async toEnd(): Promise<SeedResult> {
    const world = this.#world;
    unheard = (error) => this.#book.bug(error);
    this.#boot();
    const prepared = this.#prepare().catch((error: unknown) => this.#book.bug(error));
    await world.clock.runUntil(preparedMs);
    await prepared;
    world.faulty = true;
    const kept = this.#plan.filter(({ id }) => this.#part.keep === null || this.#part.keep.has(id));
    for (const step of kept) world.after(step.at - world.now, () => this.#take(step));
    if (this.#part.keep === null) this.#planTopUps();
    await world.clock.runUntil(calmAfterMs);
    this.#faults.end();
    const calmSince = world.now;
    world.after(
      50_000,
      () => void this.#crowd.lookAgain(this.#shop).catch((error: unknown) => this.#book.bug(error)),
    );
    await world.clock.runUntil(calmSince + calmMs);
    const findings = await this.#judge(calmSince);
    this.#ended = true;
    this.#server?.kill();
    unheard = null;
    return this.#result(findings, kept);
  }

  async #prepare(): Promise<void> {
    const server = this.#server as ServerProcess;
    await server.started;
    await prepareShop(server.ledger, this.#shop);
  }

  #take(step: Step): void {
    const bug = (error: unknown): void => this.#book.bug(error);
    if (step.who === 'fault') return this.#faults.strike(step);
    this.#commands += 1;
    if (step.who === 'member') void this.#crowd.act(step).catch(bug);
    else void this.#operator.act(step.campaign, step.act, this.#world.random(`step ${step.id}`)).catch(bug);
  }

  /** A seed whose planned faults found no victim gets more, until it has its share: no seed is a quiet one. */
  #planTopUps(): void {
    for (let i = 0; i < 12; i += 1)
      this.#world.after(calmAfterMs - 12_000 + i * 800 - this.#world.now, () => {
        const { faultCount, faults } = this.#world;
        const kind = topUps.find((one) => !faults.has(one)) ?? topUps[i % topUps.length];
        if (kind === undefined || (faultCount >= leastFaults + 2 && faults.size >= leastFaultKinds + 1))
          return;
        const [campaign] = this.#shop.campaigns;
        if (campaign === undefined) return;
        const strike = { campaign, act: { act: 'copy' } } as const;
        this.#faults.strike({ id: -1 - i, at: 0, who: 'fault', kind, size: 0.5, strike });
      });
  }

  /** The first start, and the supervisor's restart a moment after each end. */
  #boot(): void {
    this.#lives += 1;
    this.#world.note('boot', this.#lives);
    // A machine gets its time before it starts programs.
    this.#world.clock.right();
    try {
      const server = new ServerProcess(this.#machine, this.#lives);
      this.#server = server;
      server.started.catch((error: unknown) => {
        if (server.alive) this.#book.bug(error);
      });
      void server.killed.then(() => this.#restart());
    } catch (error) {
      this.#book.bug(error);
    }
  }

  #restart(): void {
    if (this.#ended) return;
    const random = this.#world.random(`restart ${this.#lives}`);
    this.#world.after(random.integer(restartMs.from, restartMs.to), () => this.#boot());
  }

  #judgePast(db: DatabaseSync): void {
    const { lastRecords: restored } = this.#restores;
    const found = audit(
      { machine: this.#machine, shop: this.#shop, book: this.#book, restored, calmSince: null },
      db,
    );
    this.#past.push(...found.map(({ rule, detail }) => ({ rule, detail: `before the restore: ${detail}` })));
  }

  async #judge(calmSince: number): Promise<Finding[]> {
    const machine = this.#machine;
    const server = this.#server as ServerProcess;
    if (!server.alive)
      return [...this.#past, { rule: 'no-bug', detail: this.#book.bugs[0] ?? 'no server runs' }];
    const restored = this.#restores.lastRecords;
    const of = { machine, shop: this.#shop, book: this.#book, restored, calmSince };
    const tally = machine.disk.opened('tally');
    const findings = [
      ...this.#past,
      ...audit(of, server.db),
      ...(tally === null ? [] : everyMessageOnce(machine, server.db, tally)),
      ...(await exportIsTrue(server.ledger, this.#shop, this.#book)),
    ];
    if (findings.length > 0 || !this.#world.random('retention').chance(retentionShare)) return findings;
    return this.#retain(server);
  }

  /** The retention of a day to come, a slice at a time, through a crash: all of what is past its time goes, and nothing else. */
  async #retain(server: ServerProcess): Promise<Finding[]> {
    const world = this.#world;
    const before = personalDataOf(this.#machine, this.#shop, server.db);
    const random = world.random('retention crash');
    let left = random.integer(1, 4);
    for (let slices = 0; slices < 200; slices += 1) {
      const current = this.#server as ServerProcess;
      let erased: number | null = null;
      void current
        .call(() => current.ledger.evidence.expire(Number.MAX_SAFE_INTEGER, 7))
        .then(
          (count) => void (erased = count),
          () => {},
        );
      left -= 1;
      if (left === 0)
        this.#machine.atNextCommit = random.chance(0.5) ? 'crash-before-commit' : 'lost-commit-reply';
      await world.clock.runUntil(world.now + (left === 0 ? 4_000 : 20));
      if (erased === 0) break;
    }
    const last = this.#server as ServerProcess;
    const { lastRecords: restored } = this.#restores;
    const chain = audit(
      {
        machine: this.#machine,
        shop: this.#shop,
        book: receiptsOnly(this.#book),
        restored,
        calmSince: null,
        chainOnly: true,
      },
      last.db,
    );
    return [
      ...retentionIsExact(this.#shop, before, last.db),
      ...chain.map(({ rule, detail }) => ({ rule, detail: `after the retention: ${detail}` })),
    ];
  }

  #result(findings: readonly Finding[], kept: Plan): SeedResult {
    return {
      seed: this.#world.seed,
      commands: this.#commands,
      faults: this.#world.faults,
      findings,
      simulatedMs: this.#world.now,
      traceHash: this.#world.traceHash(),
      history: this.#world.history(),
      coverage: this.#world.coverage.counts(),
      steps: kept.map(({ id }) => id),
    };
  }
}

/** Members are forgotten; their receipts still verify, and the chain under them. */
function receiptsOnly(book: Book): Book {
  const rest = new Book();
  rest.receipts = book.receipts;
  return rest;
}

/** An Ed25519 key from 32 seeded bytes: PKCS#8 is a fixed prefix and the key. */
function signingKeyOf(world: World): SigningKey {
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  const der = Buffer.concat([prefix, world.random('signing key').bytes(32)]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(privateKey);
  return { kid: 'k1', privateKey, publicKey, validFrom: 0, validUntil: null };
}
