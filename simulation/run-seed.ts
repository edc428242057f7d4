/**
 * One seed from start to verdict: prepare the shop, let the crowd and the faults loose, mend everything, wait a minute of simulated time, audit.
 */
import { createPrivateKey, createPublicKey, verify } from 'node:crypto';
import {
  checkInvariants,
  decodeRecord,
  type ExportedBatch,
  type LaneState,
  type VerifySignature,
} from '@doorbuster/core';
import { sha256 } from '../packages/server/src/audit/signer.ts';
import type { SigningKey } from '../packages/server/src/secrets.ts';
import { Vault } from '../packages/server/src/vault.ts';
import { auditFromOutside, Book, type Finding, messagesOf } from './auditor.ts';
import { CommitWatch } from './commit-watch.ts';
import { Crowd } from './crowd.ts';
import { type Defect, noDefect } from './defects.ts';
import { calmAfterMs, Faults } from './faults.ts';
import { readSnapshot } from './ledger-snapshot.ts';
import { ProviderBooks } from './providers.ts';
import { type Machine, ServerProcess } from './server-process.ts';
import { drawShop, prepareShop, type Shop } from './shop.ts';
import { type FaultKind, World } from './world.ts';

export interface SeedResult {
  readonly seed: string;
  readonly commands: number;
  readonly faults: ReadonlyMap<FaultKind, number>;
  readonly findings: readonly Finding[];
  readonly simulatedMs: number;
  readonly traceHash: string;
  /** The newest lines of the trace, for the report of a finding. */
  readonly history: readonly string[];
  /** Answers given, by verdict. */
  readonly verdicts: ReadonlyMap<string, number>;
  /** Records in the chains, by type. */
  readonly records: ReadonlyMap<string, number>;
}

const calmMs = 62_000;
const restartMs = { from: 50, to: 3_000 };

export async function runSeed(seed: string, defect: Defect = noDefect()): Promise<SeedResult> {
  const run = new Run(seed, defect);
  return run.toEnd();
}

class Run {
  readonly #world: World;
  readonly #machine: Machine;
  readonly #shop: Shop;
  readonly #book = new Book();
  readonly #crowd: Crowd;
  readonly #faults: Faults;
  readonly #vault: Vault;
  #server: ServerProcess | null = null;
  readonly #records = new Map<string, number>();
  readonly #shut = new Set<string>();
  #lives = 0;
  #ended = false;

  constructor(seed: string, defect: Defect) {
    const world = new World(seed);
    const master = world.random('master').bytes(32);
    this.#world = world;
    this.#vault = new Vault(master);
    this.#machine = {
      world,
      disk: defect.disk,
      books: new ProviderBooks(),
      commits: new CommitWatch(world),
      master,
      signingKeys: [signingKeyOf(world)],
      defect,
      writerDelayMs: 0,
      atNextCommit: null,
    };
    this.#shop = drawShop(world, this.#vault);
    const serving = (): ServerProcess | null => (this.#server?.alive ? this.#server : null);
    this.#crowd = new Crowd(world, this.#shop, this.#book, serving);
    this.#faults = new Faults(this.#machine, serving, (campaignId, seq) =>
      this.#crowd.revoke(campaignId, seq),
    );
  }

  async toEnd(): Promise<SeedResult> {
    const world = this.#world;
    this.#boot();
    const prepared = this.#prepare();
    await world.runUntil(5_000);
    await prepared;
    world.faulty = true;
    this.#crowd.begin();
    this.#faults.begin();
    await world.runUntil(calmAfterMs);
    this.#faults.end();
    const calmSince = world.now;
    world.after(50_000, () => void this.#crowd.lookAgain().catch((error) => this.#book.bug(error)));
    await world.runUntil(calmSince + calmMs);
    const findings = await this.#audit(calmSince);
    this.#ended = true;
    this.#server?.kill();
    return this.#result(findings);
  }

  async #prepare(): Promise<void> {
    const server = this.#server as ServerProcess;
    await server.started;
    await prepareShop(server.ledger, this.#shop);
  }

  /** The first start, and the supervisor's restart a moment after each end. */
  #boot(): void {
    this.#lives += 1;
    this.#world.note('boot', this.#lives);
    this.#faults.rightClock();
    const server = new ServerProcess(this.#machine, this.#lives);
    this.#server = server;
    server.started.catch((error: unknown) => {
      if (server.alive) this.#book.bug(error);
    });
    void server.killed.then(() => this.#restart());
  }

  #restart(): void {
    if (this.#ended) return;
    const random = this.#world.random(`restart ${this.#lives}`);
    this.#world.after(random.integer(restartMs.from, restartMs.to), () => this.#boot());
  }

  async #audit(calmSince: number): Promise<Finding[]> {
    const server = this.#server as ServerProcess;
    const lanes: LaneState[] = [];
    for (const { id } of this.#shop.campaigns) {
      const campaign = await server.ledger.campaigns.get(id);
      if (campaign?.lane) lanes.push(campaign.lane);
    }
    const snapshot = readSnapshot(server.db, this.#vault, lanes);
    this.#countRecords(snapshot.batches);
    // The last batch may wait for the next transaction to have its signature stored; it was signed all the same.
    const signed = snapshot.batches.filter((batch) => batch.signature !== '');
    const { answers, receipts } = this.#book;
    const violations = checkInvariants(
      snapshot,
      {
        answers,
        receipts: [...receipts.values()],
        messages: messagesOf(this.#shop, this.#book, this.#machine.books),
        commits: this.#machine.commits.commits,
        calm: { since: calmSince, observedAt: this.#world.now },
      },
      { sha256, verifySignature: this.#verifier(signed.length < snapshot.batches.length) },
    );
    const verified = await server.verify();
    return [
      ...auditFromOutside(this.#shop, this.#book, this.#machine.books, this.#shut),
      ...violations.map(({ invariant, detail }) => ({ rule: invariant, detail })),
      ...verified.violations.map(({ invariant, detail }) => ({ rule: `verify ${invariant}`, detail })),
    ];
  }

  #countRecords(batches: readonly ExportedBatch[]): void {
    for (const { head, records } of batches)
      for (const text of records) {
        const { type } = decodeRecord(text);
        this.#records.set(type, (this.#records.get(type) ?? 0) + 1);
        if (type === 'SOLD_OUT' || type === 'CLOSED') this.#shut.add(head.campaign);
      }
  }

  /** Each signature is checked once, however many receipts carry it. */
  #verifier(lastIsUnsigned: boolean): VerifySignature {
    const known = new Map<string, boolean>();
    const { publicKey, kid: own } = this.#machine.signingKeys[0] as SigningKey;
    return (kid, message, signature) => {
      if (signature === '') return lastIsUnsigned;
      const key = `${kid} ${signature} ${Buffer.from(message).toString('latin1')}`;
      const before = known.get(key);
      if (before !== undefined) return before;
      const good = kid === own && verify(null, message, publicKey, Buffer.from(signature, 'base64url'));
      known.set(key, good);
      return good;
    };
  }

  #result(findings: readonly Finding[]): SeedResult {
    const verdicts = new Map<string, number>();
    for (const { verdict } of this.#book.answers) verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    return {
      seed: this.#world.seed,
      commands: this.#crowd.commands,
      faults: this.#world.faults,
      findings,
      simulatedMs: this.#world.now,
      traceHash: this.#world.traceHash(),
      history: this.#world.history(),
      verdicts,
      records: this.#records,
    };
  }
}

/** An Ed25519 key from 32 seeded bytes: PKCS#8 is a fixed prefix and the key. */
function signingKeyOf(world: World): SigningKey {
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  const der = Buffer.concat([prefix, world.random('signing key').bytes(32)]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(privateKey);
  return { kid: 'k1', privateKey, publicKey, validFrom: 0, validUntil: null };
}
