/**
 * A shop that records what it publishes and a mailer that settles it, each with a file of its own, and the module by which `doorbuster-bus reconcile` finds both: what
 * reconciliation is tried on with real brokers.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { sqliteStore } from '../stores/sqlite/store.ts';

export interface ReconciledShop {
  /** Has the outbox. */
  readonly shop: DatabaseSync;
  /** Has the inbox, and a table `effects (n)`. */
  readonly mailer: DatabaseSync;
  /** For `--channels`: the channel `placed`, its subscription `mail`, and both stores. */
  readonly module: string;
  readonly close: () => void;
}

const hrefOf = (path: string): string => new URL(path, import.meta.url).href;

export async function openReconciledShop(): Promise<ReconciledShop> {
  const folder = mkdtempSync(join(tmpdir(), 'reconciled-'));
  const shop = new DatabaseSync(join(folder, 'shop.db'));
  const mailer = new DatabaseSync(join(folder, 'mailer.db'));
  for (const db of [shop, mailer]) await sqliteStore(db).prepare();
  mailer.exec('CREATE TABLE effects (n INTEGER NOT NULL)');
  const module = join(folder, 'channels.mjs');
  writeFileSync(
    module,
    `import { defineChannel } from '${hrefOf('../index.ts')}';
     import { openSqlStore } from '${hrefOf('../stores/open.ts')}';
     export const placed = defineChannel({ name: 'placed', version: 1, schema: { type: 'object' } });
     export const subscriptions = [{ channel: placed, name: 'mail' }];
     export const reconciliation = async () => {
       const [shop, mailer] = [await openSqlStore('sqlite:${folder}/shop.db'), await openSqlStore('sqlite:${folder}/mailer.db')];
       return {
         recorded: [shop.recorded('shop')],
         settled: [mailer.settled({ subscription: 'mail', channels: ['placed'] })],
         close: async () => { await shop.close(); await mailer.close(); },
       };
     };`,
  );
  return {
    shop,
    mailer,
    module,
    close() {
      for (const db of [shop, mailer]) db.close();
      rmSync(folder, { recursive: true });
    },
  };
}
