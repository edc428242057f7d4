/** What the examples stand on and is not their subject: a folder that goes with the process, and waiting for something to be so. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pause, systemClock } from '@doorbuster/messaging';

const folder = mkdtempSync(join(tmpdir(), 'example-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

/** The URL of a file in the folder of this run. */
export const inFolder = (name: string): string => `sqlite:${join(folder, name)}`;

export async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await pause(systemClock, 5);
}
