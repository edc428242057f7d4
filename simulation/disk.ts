/**
 * The disk of the simulated machine: databases in memory, and what a crash leaves of them. A commit is in the image, what was not
 * committed is not; the next process opens the image and nothing else.
 */
import { DatabaseSync } from 'node:sqlite';

export type FileName = 'ledger' | 'bus' | 'tally';

/** What a process finds on a new machine, by file: tables are made once, or every run would spend its time on them. */
const templates = new Map<FileName, Uint8Array>();

export class Disk {
  readonly #images = new Map<FileName, Uint8Array>();
  readonly #open = new Map<FileName, DatabaseSync>();

  /** `prepare` makes the tables of a new file, exactly as the code that opens it would. */
  open(name: FileName, prepare: (db: DatabaseSync) => void): DatabaseSync {
    const image = this.#images.get(name) ?? templateOf(name, prepare);
    const db = new DatabaseSync(':memory:');
    db.deserialize(image);
    this.#open.set(name, db);
    return db;
  }

  /** The process is gone: what is committed stays. Its connections are of no use from here on; close them once they are idle. */
  crash(): readonly DatabaseSync[] {
    const open = [...this.#open];
    this.#open.clear();
    for (const [name, db] of open) {
      if (db.isTransaction) db.exec('ROLLBACK');
      this.#images.set(name, db.serialize());
    }
    return open.map(([, db]) => db);
  }

  /** The connection of the process that runs. */
  opened(name: FileName): DatabaseSync | null {
    return this.#open.get(name) ?? null;
  }

  /** A copy of the file as a backup takes it: one state between two transactions. Null when there is none. */
  copy(name: FileName): Uint8Array | null {
    const db = this.#open.get(name);
    return db === undefined || db.isTransaction ? null : db.serialize();
  }

  image(name: FileName): Uint8Array | null {
    return this.#images.get(name) ?? null;
  }

  /** While no process has it open. */
  replace(name: FileName, image: Uint8Array): void {
    if (this.#open.has(name)) throw new Error(`${name} is in use`);
    this.#images.set(name, image);
  }

  /** No page more than there are now can be written to the ledger, until freed. */
  fill(): void {
    const db = this.#open.get('ledger');
    if (db === undefined) return;
    const { page_count: pages } = db.prepare('PRAGMA page_count').get() as { page_count: number };
    db.exec(`PRAGMA max_page_count = ${pages}`);
  }

  free(): void {
    this.#open.get('ledger')?.exec('PRAGMA max_page_count = 1000000');
  }
}

function templateOf(name: FileName, prepare: (db: DatabaseSync) => void): Uint8Array {
  let image = templates.get(name);
  if (image === undefined) {
    const db = new DatabaseSync(':memory:');
    prepare(db);
    image = db.serialize();
    db.close();
    templates.set(name, image);
  }
  return image;
}
