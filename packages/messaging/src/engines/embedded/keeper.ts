/**
 * A process that shares files and does nothing else: what a test kills when it kills the host. Reads lines `keep <path>` and
 * `leave <path>` and repeats each when it is done.
 */
import { createInterface } from 'node:readline';
import { systemClock } from '../../clock.ts';
import type { EngineConnection } from '../../engine.ts';
import { createEmbeddedEngine } from './engine.ts';

const kept = new Map<string, EngineConnection>();

for await (const line of createInterface(process.stdin)) {
  const [verb, path = ''] = line.split(' ');
  if (verb === 'leave') await leave(path);
  else await keep(path);
  process.stdout.write(`${verb} ${path}\n`);
}

async function keep(path: string): Promise<void> {
  const onFatal = (error: Error): never => {
    throw error;
  };
  kept.set(path, await createEmbeddedEngine({ path, share: true }).connect({ clock: systemClock, onFatal }));
}

async function leave(path: string): Promise<void> {
  await kept.get(path)?.close();
  kept.delete(path);
}
