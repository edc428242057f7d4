/** The ledger's threads where one of them cannot start: nothing of the other stays behind. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { master, signingKeys } from '../../ledger-fixture.ts';
import { ThreadedBackend, type ThreadedOptions } from './threaded-backend.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'threads-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const ledgerPath = (): string => join(folder, 'ledger.sqlite');

/** Each thread is started with the next of these paths: first the writer, then the reader. */
function optionsWith(...paths: readonly string[]): ThreadedOptions {
  let started = 0;
  return {
    get path() {
      return paths[started++]!;
    },
    witnessPath: join(folder, 'witness.json'),
    master,
    signingKeys: signingKeys(),
    fatal: (error) => {
      throw error;
    },
    onHalt: () => undefined,
  };
}

/** SQLite lets a file out of WAL mode for its only connection, and for no other. */
function journalOfSoleUser(): unknown {
  const db = new DatabaseSync(ledgerPath());
  try {
    return db.prepare('PRAGMA journal_mode = DELETE').get();
  } finally {
    db.close();
  }
}

describe('a reader that cannot start', () => {
  it('takes the writer with it: its file is closed when the fault is told', async () => {
    const opening = ThreadedBackend.open(optionsWith(ledgerPath(), join(folder, 'nowhere', 'ledger.sqlite')));
    await expect(opening).rejects.toMatchObject({ code: 'LEDGER_UNSAFE' });
    expect(journalOfSoleUser()).toEqual({ journal_mode: 'delete' });
  });

  it('control: a writer that serves has the file open', async () => {
    const backend = await ThreadedBackend.open(optionsWith(ledgerPath(), ledgerPath()));
    expect(journalOfSoleUser).toThrow('database is locked');
    await backend.close();
    expect(journalOfSoleUser()).toEqual({ journal_mode: 'delete' });
  });
});
