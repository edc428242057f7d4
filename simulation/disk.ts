/**
 * The disk of the simulated machine: two databases in memory, and what a crash leaves of them. A commit is in the image, what was not
 * committed is not; the next process opens the image and nothing else.
 */
import { DatabaseSync } from 'node:sqlite';

export type FileName = 'ledger' | 'bus';

export class Disk {
  readonly #images = new Map<FileName, Uint8Array>();
  readonly #open = new Map<FileName, DatabaseSync>();

  open(name: FileName): DatabaseSync {
    const db = new DatabaseSync(':memory:');
    const image = this.#images.get(name);
    if (image !== undefined) db.deserialize(image);
    this.#open.set(name, db);
    return db;
  }

  /** Called before each transaction of a file begins. A planted defect keeps the image of that moment. */
  beforeCommit(_name: FileName): void {}

  /** The process is gone: what is committed stays. Its connections are of no use from here on; close them once they are idle. */
  crash(): readonly DatabaseSync[] {
    const open = [...this.#open];
    this.#open.clear();
    for (const [name, db] of open) this.#images.set(name, this.surviving(name, db));
    return open.map(([, db]) => db);
  }

  /** What a crash leaves of this file. */
  protected surviving(_name: FileName, db: DatabaseSync): Uint8Array {
    return db.serialize();
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
