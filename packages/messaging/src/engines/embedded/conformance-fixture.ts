/**
 * The embedded engine's fixtures for the conformance suite: on a file, in this thread on an in-memory database, and on a shared file, once
 * with a host in a process of its own and once with whoever comes first as the host.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import {
  createEmbeddedEngine,
  createInProcessEngine,
  EmbeddedConnection,
  embeddedEngineOn,
} from './engine.ts';
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

/** Every engine is a client of a host that runs in a process of its own. */
export async function createSharedFixture(): Promise<EngineFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'shared-'));
  const path = join(folder, 'bus.db');
  const sockets = new Set<Socket>();
  let keeper = await startKeeper(path);
  const open = (): Engine => sharedEngine(path, sockets);
  return {
    open,
    child: childOf(path, true),
    injectRaw: (channel, payload) => inject(open(), channel, payload),
    async breakConnections() {
      await Promise.all([...sockets].map(broken));
    },
    async restartServer() {
      await killed(keeper);
      keeper = await startKeeper(path);
    },
    async destroy() {
      await killed(keeper);
      rmSync(folder, { recursive: true, force: true });
    },
  };
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

function broken(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.destroy();
  });
}

/** A process that hosts the file, or will when the present host ends. */
export async function startKeeper(path: string): Promise<ChildProcess> {
  const entry = new URL(import.meta.url.endsWith('.ts') ? './keeper.ts' : './keeper.js', import.meta.url);
  const keeper = spawn(process.execPath, ['--conditions=doorbuster-source', entry.pathname, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    keeper.stdout.once('data', () => resolve());
    keeper.once('close', (code) => reject(new Error(`the keeper of ${path} ended with ${code}`)));
  });
  return keeper;
}

export async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  child.kill('SIGKILL');
  await ended;
}

async function inject(engine: Engine, channel: string, payload: string): Promise<void> {
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  if (!(connection instanceof EmbeddedConnection)) throw new TypeError('not an embedded engine');
  await connection.publishRaw(channel, payload);
  await connection.close();
}
