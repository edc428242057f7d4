/**
 * What a ledger of a million entries costs: an entry, a member's memory, its place on the disk, and the time until the server is ready again after kill -9.
 * The entries go in through the ledger's own port, with its threads: the same code as in service, without the HTTP before it.
 */
import { cpSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BenchProcess } from './child-process.ts';
import type { Memory } from './doorbuster-server.ts';
import type { GeneratorOptions } from './generator.ts';
import type { LoadCost, LoadOptions } from './load-ledger.ts';
import type { MailSinkReady } from './mail-sink.ts';
import { temporaryDirectory } from './round.ts';
import { cacheSetting, preparedFiles, type Ready, type ServerOptions } from './system.ts';

export const storedParts = ['cost', 'memory', 'recovery'] as const;
export type StoredPart = (typeof storedParts)[number];

export interface StoredPlan {
  readonly parts: readonly StoredPart[];
  /** Entries of the three ledgers: few, some, many. By default 10^4, 10^5, 10^6. */
  readonly sizes: readonly [number, number, number];
  /**
   * Entries of one measurement of `cost`, at few and at many, and before it: from the end of one run of keys to the end of the next, so that what sealing
   * costs is in it once, and whole. A run has 50,000 keys, or an eighth of what is sealed.
   */
  readonly entries: { readonly few: number; readonly many: number; readonly warmUp: number };
  readonly rounds: number;
  /** How long the crowd comes before the kill. */
  readonly loadMs: number;
  /** More than are delivered, and come, while the ledger is served. */
  readonly deliverable: number;
  readonly newcomers: number;
  /** How long a server is left alone before its memory is read. */
  readonly quietMs: number;
  readonly progress: (text: string) => void;
}
export interface StoredResult {
  /** Rounds at few and at many entries. */
  readonly cost: { readonly few: readonly LoadCost[]; readonly many: readonly LoadCost[] };
  readonly bytesPerMember: readonly number[];
  readonly diskBytesPerEntry: number;
  readonly recoveryMs: readonly number[];
}

/** As 128 connections make them. */
const batch = 128;
/** The provider's cap at its least: the fulfilment of the backlog waits and makes no garbage. */
const oneMailPerSecond = 1;
/** What one collection sets free, the next gives back to the system. */
const collections = 4;

const ledgerOpening = new URL('../packages/server/src/ledgers/sqlite/ledger-file.ts', import.meta.url);
const steadyMemory = fileURLToPath(new URL('steady-memory.ts', import.meta.url));

export async function measureStored(plan: StoredPlan, secretsFile: string): Promise<StoredResult> {
  const directory = temporaryDirectory();
  const sink = new BenchProcess('mail-sink.ts', {});
  try {
    const { port: mailPort } = await sink.said<MailSinkReady>();
    return await new Stored(plan, directory, secretsFile, mailPort).measure();
  } finally {
    await sink.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

class Stored {
  readonly #plan: StoredPlan;
  readonly #directory: string;
  readonly #secretsFile: string;
  readonly #mailPort: number;

  constructor(plan: StoredPlan, directory: string, secretsFile: string, mailPort: number) {
    this.#plan = plan;
    this.#directory = directory;
    this.#secretsFile = secretsFile;
    this.#mailPort = mailPort;
  }

  async measure(): Promise<StoredResult> {
    const { parts, rounds, sizes, progress } = this.#plan;
    const disk = await this.#fill();
    const result = {
      cost: { few: [] as LoadCost[], many: [] as LoadCost[] },
      bytesPerMember: [] as number[],
      diskBytesPerEntry: Math.round(disk),
      recoveryMs: [] as number[],
    };
    for (let round = 1; round <= rounds; round += 1) {
      if (parts.includes('memory')) result.bytesPerMember.push(await this.#bytesPerMember());
      if (parts.includes('recovery')) result.recoveryMs.push(await this.#recovery(round));
      progress(
        `stored ${round}: ${result.bytesPerMember.at(-1) ?? '-'} bytes a member, ready after ${result.recoveryMs.at(-1) ?? '-'} ms`,
      );
    }
    // Last, because it adds entries to the largest.
    for (let round = 1; parts.includes('cost') && round <= rounds; round += 1) {
      const few = await this.#costAtFew();
      const { many: entries, warmUp } = this.#plan.entries;
      const many = await this.#load(this.#at('many'), entries, { batch, warmUp });
      result.cost.few.push(few);
      result.cost.many.push(many);
      progress(`cost ${round}: ${few.time} us an entry at ${sizes[0]}, ${many.time} us at ${sizes[2]}`);
    }
    return result;
  }

  #at(name: string): string {
    return join(this.#directory, name);
  }

  /** Makes the three ledgers. Returns the bytes on the disk for an entry more. */
  async #fill(): Promise<number> {
    const [few, some, many] = this.#plan.sizes;
    const fill = { batch, warmUp: 0 };
    await this.#load(this.#at('many'), few, fill);
    cpSync(this.#at('many'), this.#at('few'), { recursive: true });
    await this.#load(this.#at('many'), some - few, fill);
    cpSync(this.#at('many'), this.#at('some'), { recursive: true });
    const { time } = await this.#load(this.#at('many'), many - some, fill);
    this.#plan.progress(`filled to ${many} entries, the last ${many - some} at ${time} us each`);
    return (bytesIn(this.#at('many')) - bytesIn(this.#at('some'))) / (many - some);
  }

  async #load(
    dataDir: string,
    entries: number,
    how: Pick<LoadOptions, 'batch' | 'warmUp'>,
  ): Promise<LoadCost> {
    const { deliverable, newcomers } = this.#plan;
    const secretsFile = this.#secretsFile;
    const options: LoadOptions = { dataDir, secretsFile, entries, deliverable, newcomers, ...how };
    return new BenchProcess('load-ledger.ts', options).said<LoadCost>();
  }

  async #costAtFew(): Promise<LoadCost> {
    const copy = this.#at('few-once');
    cpSync(this.#at('few'), copy, { recursive: true });
    const { few: entries, warmUp } = this.#plan.entries;
    const cost = await this.#load(copy, entries, { batch, warmUp });
    rmSync(copy, { recursive: true });
    return cost;
  }

  /** Resident memory of two servers, one on some and one on many entries. */
  async #bytesPerMember(): Promise<number> {
    const [, some, many] = this.#plan.sizes;
    const atSome = await this.#residentMemory(this.#at('some'));
    const atMany = await this.#residentMemory(this.#at('many'));
    return Math.round(((atMany - atSome) / (many - some)) * 10) / 10;
  }

  async #residentMemory(dataDir: string): Promise<number> {
    if (!cacheSetting.test(readFileSync(ledgerOpening, 'utf8')))
      throw new Error('steady-memory.ts does not find the setting of the cache any more');
    const server = this.#server(dataDir, ['--expose-gc', '--import', steadyMemory]);
    try {
      await server.said<Ready>();
      await sleep(this.#plan.quietMs);
      for (let collection = 0; collection < collections; collection += 1) {
        await server.ask<Memory>('memory');
        await sleep(this.#plan.quietMs / 5);
      }
      return (await server.ask<Memory>('memory')).rss;
    } finally {
      await server.stop();
    }
  }

  #server(dataDir: string, flags: readonly string[] = []): BenchProcess {
    const options: ServerOptions = { dataDir, mailPort: this.#mailPort, mailsPerSecond: oneMailPerSecond };
    return new BenchProcess('doorbuster-server.ts', options, flags);
  }

  /** ms from kill -9 in the middle of a crowd until a new process says that it is ready, its start included. */
  async #recovery(round: number): Promise<number> {
    const dataDir = this.#at('many');
    const first = this.#server(dataDir);
    const { url } = await first.said<Ready>();
    const generator = new BenchProcess('generator.ts', {
      url,
      sessions: join(dataDir, preparedFiles.sessions),
      from: Math.floor(((round - 1) * this.#plan.newcomers) / this.#plan.rounds),
      campaign: 0,
      campaigns: 1,
      connections: 128,
      warmUpMs: 0,
      runMs: 60_000,
    } satisfies GeneratorOptions);
    await generator.said();
    await sleep(this.#plan.loadMs);
    const [killedAt] = await Promise.all([first.kill(), generator.kill()]);
    const second = this.#server(dataDir);
    try {
      const again = await second.said<Ready>();
      const answer = await fetch(`${again.url}/readyz`);
      if (answer.status !== 200) throw new Error(`/readyz answered ${answer.status}`);
      return Math.round(performance.now() - killedAt);
    } finally {
      await second.stop();
    }
  }
}

function bytesIn(dataDir: string): number {
  const files = readdirSync(dataDir).filter((name) => name.startsWith('ledger.sqlite'));
  return files.reduce((bytes, name) => bytes + statSync(join(dataDir, name)).size, 0);
}
