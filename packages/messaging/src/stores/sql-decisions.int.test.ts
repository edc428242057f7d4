/** The log of decisions on all three databases: what a reconciliation asks it, page by page, stays as small as there are subscriptions. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Decision } from '../dead-letter-decisions.ts';
import { type StoreFixture, storeChoices } from './fixture.ts';
import { openSqlStore } from './open.ts';
import { createSqlDecisions, type SqlDecisions } from './sql-decisions.ts';

const skipped = (subscription: string, at: number): Decision => ({
  kind: 'skipped',
  channel: 'placed',
  subscription,
  messageId: '',
  replacedBy: undefined,
  at,
});

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(
    `the log of decisions on ${kind}${missing ? ` (${missing} is not set)` : ''}`,
    () => {
      let shop: StoreFixture;
      let log: SqlDecisions;
      beforeEach(async () => {
        shop = await create();
        log = createSqlDecisions({ sql: shop.store.sql });
        await log.prepare();
      });
      afterEach(() => shop.destroy());

      it('answers the latest rewind of each subscription, however many there were', async () => {
        const names = ['mail', 'Mail', 'mail '];
        await log.note(
          Array.from({ length: 500 }, (_, n) => names.map((name) => skipped(name, 1_000 + n))).flat(),
        );
        const discarded: Decision = { ...skipped('mail', 7), kind: 'discarded', messageId: 'm-1' };
        const replaced: Decision = { ...discarded, kind: 'replaced', messageId: 'm-2', replacedBy: 'm-3' };
        await log.note([discarded, replaced]);
        const rewinds = names.map((name) => skipped(name, 1_499));
        const about = async (...ids: readonly string[]): Promise<readonly Decision[]> =>
          (await log.about(ids)).toSorted((a, b) => a.subscription.localeCompare(b.subscription));
        expect(await about()).toHaveLength(3);
        expect(await about()).toEqual(expect.arrayContaining(rewinds));
        expect(await about('m-1')).toEqual(expect.arrayContaining([...rewinds, discarded]));
        expect(await about('m-3')).toEqual(expect.arrayContaining([...rewinds, replaced]));
      });

      it('closes the database that was opened for it, and no other', async () => {
        const opened = await openSqlStore(shop.address);
        const own = createSqlDecisions({ sql: opened.sql, onClose: () => opened.close() });
        expect(await own.about([])).toEqual([]);
        await own.close();
        await expect(own.about([])).rejects.toThrow(/closed|not open|after calling end/i);
        await log.close();
        expect(await log.about([])).toEqual([]);
      });
    },
  );
