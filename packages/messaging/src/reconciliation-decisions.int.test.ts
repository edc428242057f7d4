/**
 * What people decided about dead letters stays decided: a reconciliation takes neither a discarded letter, nor an edited one, nor what a rewind skipped for lost, and a redrive that
 * happens between its looks makes nothing lost. Each with the control that is what it would be without.
 */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { systemClock } from './clock.ts';
import { eventually, signal } from './conformance/fixture.ts';
import type { DecisionLog } from './dead-letter-decisions.ts';
import type { DeadLetterRecord } from './engine.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { handleOnce } from './handle-once.ts';
import { createIds } from './ids.ts';
import { createKeyedRelay } from './keyed-relay.ts';
import { createOutboxWriter } from './outbox.ts';
import { ack, deadLetter } from './outcome.ts';
import { reconcile, type ReconcileOptions } from './reconciliation.ts';
import { type FindingKind, findingKinds, type ReconciliationReport } from './reconciliation-report.ts';
import type { EngineSight, SettledSource } from './reconciliation-sources.ts';
import { type StoreFixture, storeChoices } from './stores/fixture.ts';
import { createSqlDecisions } from './stores/sql-decisions.ts';

const placed = defineChannel({
  name: 'placed',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  requires: { replay: { keepMs: 600_000 } },
});
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(
    `decisions about dead letters on ${kind}${missing ? ` (${missing} is not set)` : ''}`,
    () => {
      let shop: StoreFixture;
      let log: DecisionLog;
      let bus: Bus;
      let mail: ReturnType<Bus['subscribe']>;
      /** Numbers that become dead letters. */
      const refused = new Set<number>();
      /** Handlers wait for it. */
      let gate: Promise<void>;
      const handled: number[] = [];
      const numbersHandled = (): readonly number[] => handled.toSorted((a, b) => a - b);

      beforeEach(async () => {
        shop = await create();
        const decisions = createSqlDecisions({ sql: shop.store.sql });
        await decisions.prepare();
        log = decisions;
        refused.clear();
        handled.length = 0;
        gate = Promise.resolve();
      });
      afterEach(async () => {
        await bus.stop({ drainMs: 200 });
        await shop.destroy();
      });

      async function open(decisions: DecisionLog | undefined): Promise<void> {
        const engine = createInProcessEngine(new DatabaseSync(':memory:'));
        bus = createBus({ engine, source: '/shop', ...(decisions ? { decisions } : {}) });
        bus.declare([placed]);
        mail = bus.subscribe(placed, {
          name: 'mail',
          handler: async (message) => {
            const { n } = message.data;
            await gate;
            handled.push(n);
            if (refused.has(n)) return deadLetter('refused');
            const { inbox } = shop.store;
            const work = async (): Promise<void> => {};
            return handleOnce({ inbox, subscription: 'mail', message, clock: systemClock, work });
          },
        });
        await bus.start();
      }

      async function order(...numbers: readonly number[]): Promise<void> {
        const messages = numbers.map((n) => write(placed, { n }));
        await shop.store.inbox.transaction((tx) => shop.store.append(tx, messages));
        const relay = createKeyedRelay({
          outbox: shop.store.outbox,
          bus,
          clock: systemClock,
          keepMs: 3_600_000,
          sweepMs: 20,
        });
        relay.start();
        // On PostgreSQL an open transaction of anybody else on the server holds back what is read.
        await eventually(
          async () => relay.view().published,
          (published) => published === numbers.length,
          'the relay',
        );
        await relay.stop();
      }

      const letters = (count: number) =>
        eventually(
          () => bus.deadLetters.list(),
          ({ length }) => length === count,
          `${count} dead letters`,
        );
      const settledIds = async (): Promise<number> =>
        Number((await shop.query("SELECT count(*) AS c FROM inbox WHERE subscription = 'mail'"))[0]?.['c']);
      const check = (options: Partial<ReconcileOptions>): Promise<ReconciliationReport> =>
        reconcile({
          recorded: [shop.store.recorded('shop')],
          settled: [shop.store.settled({ subscription: 'mail', channels: ['placed'] })],
          clock: systemClock,
          graceMs: 0,
          engine: bus,
          ...options,
        });
      const found = ({ counts }: ReconciliationReport): Partial<Record<FindingKind, number>> =>
        Object.fromEntries(findingKinds.filter((one) => counts[one] > 0).map((one) => [one, counts[one]]));

      /** 1 is settled, 2 is discarded, 3 is edited to 4. */
      async function decide(): Promise<void> {
        refused.add(2).add(3);
        await order(1, 2, 3);
        for (const letter of await letters(2)) {
          const { n } = (JSON.parse(letter.raw) as { data: { n: number } }).data;
          if (n === 2) await bus.deadLetters.discard({ messageIds: [letter.messageId] });
          else await bus.deadLetters.redriveEdited(letter, { n: 4 });
        }
        expect(await bus.deadLetters.list()).toEqual([]);
        await eventually(settledIds, (count) => count === 2, 'the corrected message');
      }

      it('a discarded letter and an edited one are decided, and a repair leaves both', async () => {
        await open(log);
        await decide();
        const report = await check({ decisions: [log], repair: { bus } });
        expect(found(report)).toEqual({ settled: 1, decided: 2 });
        expect(report).toMatchObject({ clean: true, repair: { republishable: 0, needsPersonCount: 0 } });
        expect(report.subscriptions[0]?.standings).toMatchObject({ settled: 1, decided: 2, missing: 0 });
        expect(numbersHandled()).toEqual([1, 2, 3, 4]);
      });

      it('control: not noted, and with a vow that is not true, a repair publishes both again', async () => {
        await open(undefined);
        await decide();
        const report = await check({ assumeUndecided: true, repair: { bus } });
        expect(found(report)).toEqual({ settled: 1, lost: 2, unrecorded: 1 });
        expect(report.repair.republished).toBe(2);
        await letters(2);
        expect(numbersHandled()).toEqual([1, 2, 2, 3, 3, 4]);
      });

      it('without a log, and for what is older than the log, a repair leaves to a person what may have been decided', async () => {
        await open(undefined);
        await decide();
        const late: DecisionLog = { ...log, since: async () => systemClock.now() + 1 };
        for (const decisions of [[], [late]]) {
          const report = await check({ decisions, repair: { bus } });
          expect(found(report)).toEqual({ settled: 1, lost: 2, unrecorded: 1 });
          expect(report.repair).toMatchObject({ republished: 0, needsPersonCount: 3 });
          const told = report.repair.needsPerson.map(({ why, remedy }) => `${why} ${remedy}`);
          expect(told.filter((one) => one.includes('assumeUndecided'))).toHaveLength(2);
          const remedies = decisions.length === 0 ? 'give decisions' : 'before the log of decisions began';
          expect(told.filter((one) => one.includes(remedies))).toHaveLength(2);
          expect(told.filter((one) => one.includes('the corrected message of a dead letter'))).toHaveLength(
            1,
          );
        }
        expect(numbersHandled()).toEqual([1, 2, 3, 4]);
      });

      it('what was lost without a decision is brought back, though others are noted', async () => {
        await open(log);
        await decide();
        await shop.query('DELETE FROM inbox');
        const report = await check({ decisions: [log], repair: { bus } });
        expect(found(report)).toEqual({ lost: 1, decided: 2 });
        expect(report.repair.republished).toBe(1);
        await eventually(settledIds, (count) => count === 1, 'the lost one');
      });

      /** A second subscription, which settles everything. */
      function alsoStock(): void {
        const { inbox } = shop.store;
        const work = async (): Promise<void> => {};
        bus.subscribe(placed, {
          name: 'stock',
          handler: (message) =>
            handleOnce({ inbox, subscription: 'stock', message, clock: systemClock, work }),
        });
      }

      /** As if the queue of the second subscription had been deleted with these in it. */
      async function loseAtStock(count: number): Promise<void> {
        const stocked = "FROM inbox WHERE subscription = 'stock'";
        await eventually(
          async () => Number((await shop.query(`SELECT count(*) AS c ${stocked}`))[0]?.['c']),
          (found) => found === count,
          'all of the stock',
        );
        await shop.query(`DELETE ${stocked}`);
      }
      const ofBoth = () => ({
        settled: ['mail', 'stock'].map((subscription) =>
          shop.store.settled({ subscription, channels: ['placed'] }),
        ),
      });
      const handledAgain = (count: number) =>
        eventually(
          async () => handled.length,
          (found) => found === count,
          'what was published again',
        );

      it('a repair of what a second subscription lost leaves what was decided at the first', async () => {
        await open(log);
        alsoStock();
        await decide();
        await loseAtStock(3);
        const report = await check({ ...ofBoth(), decisions: [log], repair: { bus } });
        expect(found(report)).toEqual({ partlyLost: 3 });
        expect(report.repair).toMatchObject({ republishable: 1, republished: 1, needsPersonCount: 2 });
        for (const { why, remedy } of report.repair.needsPerson) {
          expect(why).toBe('a repair goes to every subscription: a person decided about it at "mail"');
          expect(remedy).toContain('where "mail" may handle it');
        }
        // 1 comes to both again, and is in the inbox of the first.
        await handledAgain(5);
        expect(numbersHandled()).toEqual([1, 1, 2, 3, 4]);
        // Control: nobody noted it, and a vow that is not true.
        const untold = await check({ ...ofBoth(), assumeUndecided: true, repair: { bus } });
        expect(untold.repair.republished).toBeGreaterThanOrEqual(2);
        await letters(2);
        expect(numbersHandled()).toEqual(expect.arrayContaining([2, 2, 3, 3]));
      });

      it('a repair of what a second subscription lost leaves what is a dead letter at the first', async () => {
        await open(log);
        alsoStock();
        refused.add(1).add(2);
        await order(1, 2);
        const [first, second] = (await letters(2)) as [DeadLetterRecord, DeadLetterRecord];
        await loseAtStock(2);
        // What made them dead letters is mended meanwhile: from now on the first would handle the original.
        refused.clear();
        const report = await check({ ...ofBoth(), decisions: [log], repair: { bus } });
        expect(found(report)).toEqual({ partlyLost: 2 });
        expect(report.repair).toMatchObject({ republishable: 0, republished: 0, needsPersonCount: 2 });
        expect(report.repair.needsPerson[0]).toMatchObject({
          why: 'a repair goes to every subscription: it is a dead letter of "mail"',
          remedy: expect.stringContaining('discard it at "mail" and ask again, or rewind') as string,
        });
        await bus.deadLetters.redriveEdited(first, { n: 3 });
        await eventually(settledIds, (count) => count === 1, 'the corrected one');
        expect(numbersHandled()).toEqual([1, 2, 3]);
        // Control: an engine that shows no letters. The original takes effect, and so does its correction.
        const unseen: EngineSight = { view: () => bus.view(), deadLetters: { list: async () => [] } };
        const untold = await check({ ...ofBoth(), decisions: [log], engine: unseen, repair: { bus } });
        expect(untold.repair.republished).toBe(1);
        await eventually(settledIds, (count) => count === 2, 'the original');
        await bus.deadLetters.redriveEdited(second, { n: 4 });
        await eventually(settledIds, (count) => count === 3, 'its correction');
        expect(await bus.deadLetters.list()).toEqual([]);
      });

      it('a repair of what a second subscription lost leaves what a rewind of the first skipped', async () => {
        await open(log);
        alsoStock();
        await mail.stop();
        await order(1, 2);
        await bus.rewind(placed, 'mail', 'latest');
        await loseAtStock(2);
        const report = await check({ ...ofBoth(), decisions: [log], repair: { bus } });
        expect(found(report)).toEqual({ partlyLost: 2 });
        expect(report.repair).toMatchObject({ republished: 0, needsPersonCount: 2 });
        expect(report.repair.needsPerson[0]?.why).toContain('"mail" was rewound to a later point');
        // Control: nobody noted it.
        expect((await check({ ...ofBoth(), assumeUndecided: true })).repair.republishable).toBe(2);
      });

      it('a repair leaves what a rewind skipped at a subscription that keeps no inbox', async () => {
        await open(log);
        const seen: number[] = [];
        const watch = (): ReturnType<Bus['subscribe']> =>
          bus.subscribe(placed, {
            name: 'watch',
            handler({ data }) {
              seen.push(data.n);
              return ack();
            },
          });
        await watch().stop();
        await order(1, 2);
        await eventually(settledIds, (count) => count === 2, 'both');
        await bus.rewind(placed, 'watch', 'latest');
        watch();
        await shop.query('DELETE FROM inbox');
        const repair = { bus, withoutInbox: true };
        const report = await check({ decisions: [log], repair });
        expect(found(report)).toEqual({ lost: 2 });
        expect(report.repair).toMatchObject({ republished: 0, needsPersonCount: 2 });
        expect(report.repair.needsPerson[0]?.why).toContain('"watch" was rewound to a later point');
        expect(seen).toEqual([]);
        // Control: nobody noted it.
        expect((await check({ assumeUndecided: true, repair })).repair.republished).toBe(2);
        await eventually(
          async () => [...seen],
          ({ length }) => length === 2,
          'what was skipped',
        );
      });

      it('what a rewind skipped stays skipped when the relay noted its publishing later', async () => {
        await open(log);
        await mail.stop();
        await order(1, 2);
        await bus.rewind(placed, 'mail', 'latest');
        const { now } = systemClock;
        const later = { now: () => now() + 7_200_000 };
        // As a relay that starts again two hours later notes it: by then it was published.
        const owned = await shop.store.outbox.own();
        await owned?.readFresh(10);
        await owned?.purge(Number.NEGATIVE_INFINITY, later.now());
        await owned?.release();
        await shop.query(`UPDATE outbox_runs SET at = ${later.now()}`);
        const published = async (): Promise<readonly (number | undefined)[]> => {
          const source = shop.store.recorded('shop');
          const { items } = await source.page({ from: 0, to: 1e15 }, { after: undefined, limit: 10 });
          return items.map(({ publishedAt }) => publishedAt);
        };
        expect((await published()).every((at) => (at ?? 0) > now() + 3_600_000)).toBe(true);
        const report = await check({ decisions: [log], repair: { bus }, clock: later });
        expect(found(report)).toEqual({ unverifiable: 2 });
        expect(report.repair).toMatchObject({ republished: 0, needsPersonCount: 2 });
        // Two runs with one end: the one that began first tells the earlier time, wherever it lies in the table.
        await shop.query(
          'INSERT INTO outbox_runs (began_at, at, up_to) SELECT 1, 1, min(up_to) FROM outbox_runs',
        );
        expect(await published()).toEqual([1, 1]);
      });

      it('many are discarded in steps, each noted, also of one message in two subscriptions', async () => {
        await open(log);
        bus.subscribe(placed, { name: 'stock', handler: () => deadLetter('refused') });
        const numbers = Array.from({ length: 130 }, (_, n) => n);
        for (const n of numbers) refused.add(n);
        await order(...numbers);
        await letters(100);
        await eventually(
          () => bus.deadLetters.groups(),
          (groups) => groups.reduce((sum, { count }) => sum + count, 0) === 260,
          'all letters',
        );
        const steps: number[] = [];
        const done = await bus.deadLetters.discard({}, { onProgress: ({ moved }) => steps.push(moved) });
        expect(done).toEqual({ moved: 260, remaining: 0 });
        expect(steps).toEqual([200, 260]);
        expect(found(await check({ decisions: [log] }))).toEqual({ decided: 130 });
      });

      it('what a rewind skipped is not lost for sure, and a repair leaves it', async () => {
        await open(log);
        await mail.stop();
        await order(1, 2);
        await bus.rewind(placed, 'mail', 'latest');
        const report = await check({ decisions: [log], repair: { bus } });
        expect(found(report)).toEqual({ unverifiable: 2 });
        expect(report.repair).toMatchObject({ republished: 0, needsPersonCount: 2 });
        expect(report.repair.needsPerson[0]?.why).toContain('rewound to a later point');
        // Control: nobody noted it.
        expect(found(await check({ assumeUndecided: true }))).toEqual({ lost: 2 });
      });

      it('what waits is not lost however long the inboxes take to answer', async () => {
        await open(log);
        await mail.stop();
        await order(1, 2);
        let lateMs = 0;
        const mailed = shop.store.settled({ subscription: 'mail', channels: ['placed'] });
        const slow: SettledSource = {
          ...mailed,
          settled(ids) {
            lateMs += 60_000;
            return mailed.settled(ids);
          },
        };
        const clock = { ...systemClock, now: () => systemClock.now() + lateMs };
        const report = await check({ decisions: [log], settled: [slow], clock });
        expect(found(report)).toEqual({ waitingInEngine: 2 });
        expect(lateMs).toBeGreaterThan(0);
      });

      it('a redrive between the looks makes nothing lost', async () => {
        await open(log);
        refused.add(2).add(3);
        await order(1, 2, 3);
        await letters(2);
        const opened = signal();
        gate = opened.fired;
        refused.clear();
        let lists = 0;
        const racing: EngineSight = {
          view: () => bus.view(),
          deadLetters: {
            list: async (...asked) => {
              lists += 1;
              if (lists === 1) await bus.deadLetters.redrive({});
              return bus.deadLetters.list(...asked);
            },
          },
        };
        const report = await check({ decisions: [log], engine: racing, repair: { bus } });
        expect(found(report)).toEqual({ settled: 1, waitingInEngine: 2 });
        expect(report.repair.republished).toBe(0);
        opened.fire();
        await eventually(settledIds, (count) => count === 3, 'the redriven ones');
        expect(numbersHandled()).toEqual([1, 2, 2, 3, 3]);
      });
    },
  );
