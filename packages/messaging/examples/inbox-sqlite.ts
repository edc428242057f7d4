/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** An inbox in a SQLite database: the same message twice, and its effect once. */
import { DatabaseSync } from 'node:sqlite';
import { ack, handleOnce, systemClock } from '@doorbuster/messaging';
import { sqliteStore } from '@doorbuster/messaging/stores/sqlite';

const db = new DatabaseSync(':memory:');
db.exec('CREATE TABLE orders (id TEXT PRIMARY KEY, mails INTEGER NOT NULL)');
db.exec("INSERT INTO orders VALUES ('A-1', 0)");
const store = sqliteStore(db);
await store.prepare();

const countMail = (message: { readonly id: string; readonly data: { readonly orderId: string } }) =>
  handleOnce({
    inbox: store.inbox,
    subscription: 'mailer',
    message,
    clock: systemClock,
    work: async () => {
      db.prepare('UPDATE orders SET mails = mails + 1 WHERE id = ?').run(message.data.orderId);
      return ack();
    },
  });

// As the engine delivers it, and once more after a crash: `handler: countMail` on a bus.
const message = { id: 'm-1', data: { orderId: 'A-1' } };
console.log((await countMail(message)).kind, (await countMail(message)).kind);
console.log(db.prepare('SELECT mails FROM orders').get()?.['mails']);
