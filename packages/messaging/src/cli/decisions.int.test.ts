/**
 * The `decisions` of a module as they are documented, on each database: commands note there and end, also where the application holds more open, and where the table is not there it is
 * named, with what makes it, and nothing is decided.
 */
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEmbeddedEngine } from '../engines/embedded/engine.ts';
import type { ReconciliationReport } from '../reconciliation-report.ts';
import { type StoreFixture, storeChoices } from '../stores/fixture.ts';
import { createSqlDecisions } from '../stores/sql-decisions.ts';
import {
  jsonOf,
  keptPlace,
  module,
  publishKept,
  type Said,
  useShopFile,
  withReport,
} from './testing/fixture.ts';

const shop = useShopFile();
const urlOf = (path: string): string => new URL(path, import.meta.url).href;

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(`"decisions" on ${kind}${missing ? ` (${missing} is not set)` : ''}`, () => {
    let store: StoreFixture;
    let channels: string;
    beforeEach(async () => {
      store = await create();
      channels = shop.path('channels.mjs');
      writeFileSync(channels, moduleOf(''));
    });
    afterEach(() => store.destroy());

    const moduleOf = (
      more: string,
    ): string => `import { createSqlDecisions, defineChannel } from '${urlOf('../index.ts')}';
import { openSqlStore } from '${urlOf('../stores/open.ts')}';
export { orderPlaced, subscriptions } from '${pathToFileURL(module).href}';
export const kept = defineChannel({
  name: 'order.kept', version: 1, schema: {}, requires: { replay: { keepMs: 3_600_000 } },
});
export const decisions = async () => {
  const shop = await openSqlStore('${store.address}');
  return createSqlDecisions({ sql: shop.sql, onClose: () => shop.close() });
};
export const reconciliation = async () => {
  const shop = await openSqlStore('${store.address}');
  return {
    recorded: [shop.recorded('shop')],
    settled: [shop.settled({ subscription: 'mailer', channels: ['order.placed'] })],
    close: () => shop.close(),
  };
};
${more}
`;
    const say = (...args: string[]): Promise<Said> => shop.onFileHere(...args, '--channels', channels);
    const discard = ['discard', '--all', '--confirm', 'all'];
    const letterIds = async (): Promise<readonly string[]> =>
      jsonOf<{ id: string }[]>(await say('dead-letters', 'list', '--json')).map(({ id }) => id);

    it('names its table where it is not there, and decides nothing', async () => {
      await shop.withLetters(1);
      const [id = ''] = await letterIds();
      writeFileSync(shop.path('data.json'), '{"orderId":"A-0","total":5}');
      const lacks = {
        code: 3,
        err: expect.stringMatching(
          /the database of "decisions" lacks the table of decisions: [\s\S]*createSqlDecisions\(\{ sql \}\)\.prepare\(\)/,
        ),
      };
      expect(await say(...discard)).toMatchObject(lacks);
      expect(await say('edit-and-redrive', id, '--data', shop.path('data.json'))).toMatchObject(lacks);
      expect(await letterIds()).toEqual([id]);
      expect(await say('reconcile')).toMatchObject(lacks);
    });

    it('names it before a replay skips anything', async () => {
      await withReport(createEmbeddedEngine({ path: shop.path('bus.db') }), new Set(), (bus) =>
        publishKept(bus, 1),
      );
      const replay = ['replay', ...keptPlace, '--from', 'latest', '--confirm', 'report'];
      expect(await say(...replay)).toMatchObject({
        code: 3,
        err: expect.stringContaining('lacks the table of decisions'),
      });
      await createSqlDecisions({ sql: store.store.sql }).prepare();
      expect(await say(...replay)).toMatchObject({ code: 0 });
      expect(await createSqlDecisions({ sql: store.store.sql }).about([])).toMatchObject([
        { kind: 'skipped', channel: 'order.kept', subscription: 'report' },
      ]);
    });

    it('notes what is discarded, closes it, and ends though the application holds a timer', async () => {
      await createSqlDecisions({ sql: store.store.sql }).prepare();
      await shop.withLetters(2);
      writeFileSync(channels, moduleOf('setInterval(() => {}, 1_000);'));
      expect(await shop.onFile(...discard, '--channels', channels, '--json')).toMatchObject({
        code: 0,
        out: '{"discarded":2,"remaining":0,"aborted":false}\n',
      });
      const rows = await store.query("SELECT kind FROM dead_letter_decisions WHERE message_id <> ''");
      expect(rows).toHaveLength(2);
      const report = jsonOf<ReconciliationReport>(await say('reconcile', '--json'));
      expect(report).toMatchObject({ complete: true, verdict: 'clean' });
    });
  });
