/**
 * Remembers beside the bus's file that there was one. Without it a deleted `bus.sqlite` looks like a first start: an empty queue is made, and entries
 * that were answered 202 and have no verdict yet are gone without a word. Deliveries are not at stake, the ledger knows them. An older copy in its place,
 * or one without its WAL, is not noticed.
 *
 * It lies in the data directory and not in the ledger, because a backup is the ledger alone: a directory restored from one rightly has no bus.
 */
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OperationalError } from './errors.ts';
import { busPath } from './paths.ts';

const witnessPath = (dataDir: string): string => join(dataDir, 'bus-witness.json');

/** Throws BUS_MISSING. `acceptLoss`: the operator knows, and an empty one may be made. Returns whether one is missing. */
export function requireWitnessedBus(dataDir: string, acceptLoss: boolean): boolean {
  // An empty file is as good as none: an empty queue would be made in it.
  const bytes = statSync(busPath(dataDir), { throwIfNoEntry: false })?.size ?? 0;
  const missing = bytes === 0 && existsSync(witnessPath(dataDir));
  if (missing && !acceptLoss)
    throw new OperationalError('BUS_MISSING', { detail: `${busPath(dataDir)} was there at the last start.` });
  if (missing) rmSync(witnessPath(dataDir));
  return missing;
}

/** Once the bus is open, and before anything is answered 202. */
export function witnessBus(dataDir: string): void {
  if (!existsSync(witnessPath(dataDir)))
    writeFileSync(witnessPath(dataDir), '{"version":1}\n', { mode: 0o600, flush: true });
}
