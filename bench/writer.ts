/**
 * The writer's work alone: the group commit on a real file, in this thread, without the wire. Processor time per entry, user and system, and
 * what it becomes as entries are stored. For the whole path use `bench/main.ts`; this one says what a step in the ledger is worth.
 *
 *   node --conditions=doorbuster-source bench/writer.ts [--entries 60000] [--batch 64] [--stored 0] [--json]
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '@doorbuster/messaging';
import { Signer } from '../packages/server/src/audit/signer.ts';
import type { AdmissionCommand } from '../packages/server/src/ledger.ts';
import { packCommands } from '../packages/server/src/ledgers/sqlite/admission-codec.ts';
import { GroupCommit } from '../packages/server/src/ledgers/sqlite/group-commit.ts';
import { openLedgerFile } from '../packages/server/src/ledgers/sqlite/ledger-file.ts';
import { prepareStore } from '../packages/server/src/ledgers/sqlite/prepare.ts';
import { openStore } from '../packages/server/src/ledgers/sqlite/store.ts';
import { systemRandomness } from '../packages/server/src/randomness.ts';
import { Vault } from '../packages/server/src/vault.ts';

const { values } = parseArgs({
  options: {
    entries: { type: 'string', default: '60000' },
    batch: { type: 'string', default: '64' },
    stored: { type: 'string', default: '0' },
    answers: { type: 'string', default: 'two' },
    json: { type: 'boolean', default: false },
  },
});
const entries = Number(values.entries);
const batchSize = Number(values.batch);
const operator = { kind: 'cli', id: 'bench' } as const;
const hex = (): string => randomBytes(16).toString('hex');

function batchOf(size: number): AdmissionCommand[] {
  const answers = values.answers === 'two' ? { colour: 'red', size: 'm' } : null;
  return Array.from({ length: size }, () => ({
    memberKey: hex(),
    salt: hex(),
    answers,
    screenedOut: false,
  }));
}

const dataDir = mkdtempSync(join(import.meta.dirname, '.writer-'));
const signingKeys = [{ kid: 'bench', ...generateKeyPairSync('ed25519'), validFrom: 0, validUntil: null }];
try {
  const store = openStore({
    db: openLedgerFile(join(dataDir, 'ledger.sqlite')),
    clock: systemClock,
    randomness: systemRandomness(),
    vault: new Vault(randomBytes(32)),
    signer: new Signer(signingKeys),
    role: 'writer',
  });
  prepareStore(store);
  const commit = new GroupCommit(store);
  const run = (name: 'createCampaign' | 'publishCampaign' | 'admit', ...args: readonly unknown[]): void => {
    const [reply] = commit.run([{ name, args }]).replies;
    if (reply?.ok !== true) throw reply?.error;
  };
  const publish = (id: string): void => {
    const text = { en: 'Bench' };
    const stock = { capacity: 10_000_000, closeWhenSoldOut: false };
    const reward = { messengers: ['file'] };
    run(
      'createCampaign',
      id,
      { title: text, prize: text, startsAt: '2020-01-01T00:00:00Z', stock, reward },
      operator,
    );
    run('publishCampaign', id, operator);
  };
  const admit = (id: string, batches: readonly AdmissionCommand[][]): void => {
    for (const batch of batches) run('admit', id, packCommands(batch));
  };
  const batchesOf = (count: number): AdmissionCommand[][] =>
    Array.from({ length: Math.ceil(count / batchSize) }, () => batchOf(batchSize));
  publish('warm');
  admit('warm', batchesOf(10_000));
  publish('hot');
  for (let left = Number(values.stored); left > 0; left -= 20_000)
    admit(
      'hot',
      Array.from({ length: Math.ceil(Math.min(left, 20_000) / 512) }, () => batchOf(512)),
    );
  const measured = batchesOf(entries).map(packCommands);
  const from = performance.now();
  const before = process.cpuUsage();
  const slowest: number[] = [];
  for (const batch of measured) {
    const began = performance.now();
    run('admit', 'hot', batch);
    slowest.push(performance.now() - began);
  }
  const { user, system } = process.cpuUsage(before);
  const count = measured.length * batchSize;
  const round = (value: number): number => Math.round(value * 100) / 100;
  slowest.sort((a, b) => b - a);
  const result = {
    microsPerEntry: round(((performance.now() - from) * 1000) / count),
    userMicrosPerEntry: round(user / count),
    systemMicrosPerEntry: round(system / count),
    batchMs: {
      p50: round(slowest[slowest.length >> 1] ?? 0),
      p99: round(slowest[Math.floor(slowest.length / 100)] ?? 0),
      most: round(slowest[0] ?? 0),
    },
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  rmSync(dataDir, { recursive: true });
}
