/**
 * The embedded engine's fixtures for the conformance suite: on a file, in this thread on an in-memory database, and on a shared file, once
 * with a host in a process of its own and once with whoever comes first as the host.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import type { Readable } from 'node:stream';
import { systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { EmbeddedConnection } from './connection.ts';
import { createEmbeddedEngine, createInProcessEngine, embeddedEngineOn } from './engine.ts';
import { openSharedWriter } from './sharing/shared-writer.ts';

/** What a child process of the kill cases opens: the argument is `{ path, share }`. */
export function openEngine(argument: string): Engine {
  return createEmbeddedEngine(JSON.parse(argument) as { path: string; share: boolean });
}

export async function createFileFixture(): Promise<EngineFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'embedded-'));
  const path = join(folder, 'bus.db');
  const open = (): Engine => createEmbeddedEngine({ path });
  return {
    open,
    child: childOf(path, false),
    injectRaw: (channel, payload) => inject(open(), channel, payload),
    destroy: async () => rmSync(folder, { recursive: true, force: true }),
  };
}

export async function createInProcessFixture(): Promise<EngineFixture> {
  const database = new DatabaseSync(':memory:');
  const open = (): Engine => createInProcessEngine(database);
  return {
    open,
    injectRaw: (channel, payload) => inject(open(), channel, payload),
    destroy: async () => database.close(),
  };
}

/** One process that hosts for all fixtures of a test file: starting one for each case would be most of the time. */
let keeper: Keeper | undefined;

/** Every engine is a client of a host that runs in a process of its own. Call `endKeeper` after the last one. */
export async function createSharedFixture(): Promise<EngineFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'shared-'));
  const path = join(folder, 'bus.db');
  const sockets = new Set<Socket>();
  keeper ??= new Keeper();
  await keeper.tell('keep', path);
  const open = (): Engine => sharedEngine(path, sockets);
  return {
    open,
    child: childOf(path, true),
    injectRaw: (channel, payload) => inject(open(), channel, payload),
    async breakConnections() {
      const broken = [...sockets];
      await Promise.all(broken.map(endOf));
      return broken.length;
    },
    async restartServer() {
      await endKeeper();
      keeper = new Keeper();
      await keeper.tell('keep', path);
    },
    async destroy() {
      await keeper?.tell('leave', path);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function endKeeper(): Promise<void> {
  await keeper?.kill();
  keeper = undefined;
}

/** Nobody hosts until an engine of the case does, a child of the kill cases included. */
export async function createHostingFixture(): Promise<EngineFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'hosting-'));
  const path = join(folder, 'bus.db');
  const open = (): Engine => sharedEngine(path, new Set());
  return {
    open,
    child: childOf(path, true),
    injectRaw: (channel, payload) => inject(open(), channel, payload),
    destroy: async () => rmSync(folder, { recursive: true, force: true }),
  };
}

function childOf(path: string, share: boolean): NonNullable<EngineFixture['child']> {
  return { module: new URL(import.meta.url), argument: JSON.stringify({ path, share }) };
}

function sharedEngine(path: string, sockets: Set<Socket>): Engine {
  const store = { durable: true, keepUnsubscribedMs: 60_000 };
  const onSocket = (socket: Socket): void => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  };
  return embeddedEngineOn((context) =>
    openSharedWriter({ path, store, maxMessageBytes: 2 ** 20, onSocket }, context),
  );
}

function endOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.destroy();
  });
}

/** A process that hosts files, or will when their present hosts end. */
export class Keeper {
  readonly #process: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #told = new Map<string, () => void>();

  constructor() {
    const entry = new URL(import.meta.url.endsWith('.ts') ? './keeper.ts' : './keeper.js', import.meta.url);
    this.#process = spawn(process.execPath, ['--conditions=doorbuster-source', entry.pathname], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#ended = new Promise((resolve) => this.#process.once('close', () => resolve()));
    createInterface(this.#process.stdout as Readable).on('line', (line) => this.#told.get(line)?.());
  }

  get pid(): number {
    return this.#process.pid as number;
  }

  /** Resolves when it is done; rejects when the process ends before. */
  async tell(verb: 'keep' | 'leave', path: string): Promise<void> {
    const line = `${verb} ${path}`;
    const done = new Promise<true>((resolve) => this.#told.set(line, () => resolve(true)));
    this.#process.stdin?.write(`${line}\n`);
    if (!(await Promise.race([done, this.#ended]))) throw new Error(`the keeper ended before "${line}"`);
  }

  /** SIGKILL, as a crash. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }
}

async function inject(engine: Engine, channel: string, payload: string): Promise<void> {
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  if (!(connection instanceof EmbeddedConnection)) throw new TypeError('not an embedded engine');
  await connection.publishRaw(channel, payload);
  await connection.close();
}
