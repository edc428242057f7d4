/** The embedded engine's fixtures for the conformance suite: on a file, and in this thread on an in-memory database. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createEmbeddedEngine, createInProcessEngine, EmbeddedConnection } from './engine.ts';

/** What a child process of the kill cases opens: the argument is the path. */
export function openEngine(path: string): Engine {
  return createEmbeddedEngine({ path });
}

export async function createFileFixture(): Promise<EngineFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'embedded-'));
  const path = join(folder, 'bus.db');
  const open = (): Engine => createEmbeddedEngine({ path });
  return {
    open,
    child: { module: new URL(import.meta.url), argument: path },
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

async function inject(engine: Engine, channel: string, payload: string): Promise<void> {
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  if (!(connection instanceof EmbeddedConnection)) throw new TypeError('not an embedded engine');
  await connection.publishRaw(channel, payload);
  await connection.close();
}
