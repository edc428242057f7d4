/**
 * Reconciliation on all three stores, the producer's outbox and the consumers' inboxes in different databases, with the embedded engine in between: every kind
 * of difference is found, nothing else is, and a repair brings back what was lost, once.
 */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { systemClock } from './clock.ts';
import { Collector, eventually } from './conformance/fixture.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { handleOnce } from './handle-once.ts';
import { createIds } from './ids.ts';
import { createKeyedRelay } from './keyed-relay.ts';
import { createOutboxWriter } from './outbox.ts';
import { MessagingError } from './errors.ts';
import type { Message } from './message.ts';
import { ack, deadLetter } from './outcome.ts';
import { reconcile, type ReconcileOptions, ReconciliationBroken } from './reconciliation.ts';
import { type FindingKind, findingKinds, type ReconciliationReport } from './reconciliation-report.ts';
import type { RecordedSource } from './reconciliation-sources.ts';
import { run, type StoreFixture, storeChoices } from './stores/fixture.ts';

const placed = defineChannel({ name: 'placed', version: 1, schema: Type.Object({ n: Type.Integer() }) });
const ids = createIds(systemClock);
const write = createOutboxWriter({ clock: systemClock, ids, source: '/shop' });

/** To plant something in one of its calls. */
const boundRecords = (real: RecordedSource): RecordedSource => ({
  name: real.name,
  page: (window, request) => real.page(window, request),
  recorded: (of) => real.recorded(of),
  keptSince: () => real.keptSince(),
});

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(`reconciliation on ${kind}${missing ? ` (${missing} is not set)` : ''}`, () => {
    let shop: StoreFixture;
    let mailer: StoreFixture;
    let bus: Bus;
    let handled: Collector<string>;
    /** Numbers that a subscription answers with a dead letter. */
    const refused = new Set<number>();
    /** Numbers that the engine confirms and loses on the way to everybody. */
    const lost = new Set<number>();

    beforeEach(async () => {
      shop = await create();
      mailer = await create();
      await mailer.query('CREATE TABLE effects (n INTEGER NOT NULL)');
      handled = new Collector();
      refused.clear();
      lost.clear();
      bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/shop' });
      bus.declare([placed]);
      subscribe('mail', mailer);
      subscribe('stock', shop);
      await bus.start();
    });
    afterEach(async () => {
      await bus.stop({ drainMs: 200 });
      await shop.destroy();
      await mailer.destroy();
    });

    function subscribe(name: string, { store }: StoreFixture): void {
      bus.subscribe(placed, {
        name,
        handler: async (message) => {
          const { n } = message.data;
          if (name === 'mail' && refused.has(n)) return deadLetter('refused');
          const outcome = await handleOnce({
            inbox: store.inbox,
            subscription: name,
            message,
            clock: systemClock,
            work: async (tx) =>
              name === 'mail'
                ? void (await run(kind, tx, `INSERT INTO effects (n) VALUES (${n})`))
                : undefined,
          });
          handled.add(`${name} ${n}`);
          return outcome.kind === 'ack' ? ack() : outcome;
        },
      });
    }

    /** Records orders and lets the relay publish them all, which an open transaction may put off; what is in `lost` is confirmed and goes nowhere. */
    async function order(...numbers: readonly number[]): Promise<void> {
      const messages = numbers.map((n) => write(placed, { n }, { key: `k${n % 3}` }));
      await shop.store.inbox.transaction((tx) => shop.store.append(tx, messages));
      const relay = createKeyedRelay({
        outbox: shop.store.outbox,
        bus: {
          forward: (rows) =>
            bus.forward(rows.filter(({ message }) => !lost.has((message.data as { n: number }).n))),
        },
        clock: systemClock,
        keepMs: 3_600_000,
        undeclaredMs: 0,
        sweepMs: 20,
      });
      relay.start();
      await eventually(
        () => shop.store.outbox.view(systemClock.now()),
        ({ unpublished, waiting }) => unpublished + waiting === 0,
        'all that was recorded is published',
      );
      await relay.stop();
    }

    const check = (options: Partial<ReconcileOptions> = {}): Promise<ReconciliationReport> =>
      reconcile({
        recorded: [shop.store.recorded('shop')],
        settled: [
          mailer.store.settled({ subscription: 'mail', channels: ['placed'] }),
          shop.store.settled({ subscription: 'stock', channels: ['placed'] }),
        ],
        clock: systemClock,
        graceMs: 0,
        assumeUndecided: true,
        engine: bus,
        ...options,
      });
    const found = ({ counts }: ReconciliationReport): Partial<Record<FindingKind, number>> =>
      Object.fromEntries(findingKinds.filter((one) => counts[one] > 0).map((one) => [one, counts[one]]));
    const effects = async (): Promise<number> =>
      Number((await mailer.query('SELECT count(*) AS c FROM effects'))[0]?.c);

    it('finds nothing when nothing is missing', async () => {
      await order(1, 2, 3, 4);
      await handled.waitFor(8);
      const report = await check({ pageSize: 3 });
      expect(found(report)).toEqual({ settled: 4 });
      expect(report).toMatchObject({ clean: true, complete: true, checked: { recorded: 4, settled: 8 } });
    });

    it('finds what was lost, brings it back once, and touches nothing in a dry run', async () => {
      lost.add(2).add(4);
      await order(1, 2, 3, 4, 5);
      await handled.waitFor(6);
      const before = await check({ pageSize: 2 });
      expect(found(before)).toEqual({ settled: 3, lost: 2 });
      expect(before.repair).toMatchObject({ mode: 'dryRun', republishable: 2, republished: 0 });
      expect(before.keys.map(({ key, findings }) => `${key} ${findings.length}`).toSorted()).toEqual([
        'k1 1',
        'k2 1',
      ]);
      expect(await effects()).toBe(3);
      // Twice, as two people might at the same time: the inbox makes the second one harmless.
      await Promise.all([check({ repair: { bus } }), check({ repair: { bus } })]);
      await eventually(effects, (count) => count === 5, 'the lost ones');
      await eventually(check, ({ clean }) => clean, 'nothing left');
      expect(await effects()).toBe(5);
    });

    it('control: on an engine whose consumers keep no inbox the same repair takes effect twice', async () => {
      await order(1, 2, 3);
      await handled.waitFor(6);
      // The defect: the ids are not kept, so everything looks lost.
      await mailer.query('DELETE FROM inbox');
      expect(found(await check({ repair: { bus } }))).toEqual({ partlyLost: 3 });
      await eventually(effects, (count) => count === 6, 'effects that came twice');
    });

    it('tells what a single subscription lost, with its dead letters, from what is lost for all', async () => {
      refused.add(2);
      await order(1, 2, 3);
      await eventually(
        () => bus.deadLetters.list(),
        ({ length }) => length === 1,
        'the dead letter',
      );
      await handled.waitFor(5);
      await mailer.query(
        `DELETE FROM inbox WHERE message_id IN (SELECT id FROM (SELECT min(message_id) AS id FROM inbox) AS first)`,
      );
      const report = await check();
      expect(found(report)).toEqual({ settled: 1, deadLetter: 1, partlyLost: 1 });
      expect(
        report.subscriptions.find(({ subscription }) => subscription === 'mail')?.standings,
      ).toMatchObject({
        settled: 1,
        deadLetter: 1,
        missing: 1,
      });
      expect(report.repair.needsPerson).toEqual([
        expect.objectContaining({ why: 'parked as a dead letter' }),
      ]);
      // Without a look at the engine, the dead letter is missing like the other.
      const { engine: _, ...blind } = { engine: bus };
      const unseen = await reconcile({
        recorded: [shop.store.recorded('shop')],
        settled: [mailer.store.settled({ subscription: 'mail', channels: ['placed'] })],
        clock: systemClock,
        graceMs: 0,
        ...blind,
      });
      expect(found(unseen)).toEqual({ settled: 1, lost: 2 });
    });

    it('tells what was not sent yet, what is parked and what is too young from what is lost', async () => {
      await shop.store.inbox.transaction((tx) => shop.store.append(tx, [write(placed, { n: 1 })]));
      expect(found(await check())).toEqual({ unpublished: 1 });
      expect(found(await check({ graceMs: 60_000 }))).toEqual({ inFlight: 1 });
      const strange = { ...write(placed, { n: 2 }), channel: 'nowhere' };
      await shop.store.inbox.transaction((tx) => shop.store.append(tx, [strange]));
      await order(3);
      await handled.waitFor(4);
      const report = await check({ repair: { bus } });
      expect(found(report)).toEqual({ settled: 2, parkedInOutbox: 1 });
      expect(report.repair.needsPerson[0]?.why).toContain('nowhere');
    });

    it('finds what was settled and never recorded', async () => {
      await order(1);
      await bus.publish(placed, { n: 7 });
      await handled.waitFor(4);
      const report = await check();
      expect(found(report)).toEqual({ settled: 1, unrecorded: 2 });
      expect(report.samples.map(({ source }) => source).toSorted()).toEqual(['mail', 'stock']);
    });

    it('control: records that tell everything as sent hide what is unpublished', async () => {
      await shop.store.inbox.transaction((tx) => shop.store.append(tx, [write(placed, { n: 1 })]));
      expect(found(await check())).toEqual({ unpublished: 1 });
      const real = shop.store.recorded('shop');
      const allSent: RecordedSource = {
        ...boundRecords(real),
        async page(window, request) {
          const page = await real.page(window, request);
          return { ...page, items: page.items.map((one) => ({ ...one, state: 'published' })) };
        },
      };
      expect(found(await check({ recorded: [allSent] }))).toEqual({ lost: 1 });
    });

    it('control: records that know every id hide what was never recorded, those that know none make all of it strange', async () => {
      await order(1);
      await bus.publish(placed, { n: 7 });
      await handled.waitFor(4);
      expect(found(await check())).toEqual({ settled: 1, unrecorded: 2 });
      const real = boundRecords(shop.store.recorded('shop'));
      const knows = (known: (ids: readonly string[]) => readonly string[]): RecordedSource => ({
        ...real,
        recorded: async (of) => new Set(known(of)),
      });
      expect(found(await check({ recorded: [knows((of) => of)] }))).toEqual({ settled: 1 });
      expect(found(await check({ recorded: [knows(() => [])] }))).toEqual({ settled: 1, unrecorded: 4 });
    });

    it('does not guess where records do not reach back', async () => {
      await order(1, 2);
      await handled.waitFor(4);
      const after = systemClock.now() + 1;
      await eventually(
        async () => systemClock.now(),
        (now) => now > after,
        'a later time',
      );
      await mailer.store.purgeInbox({ subscription: 'mail', before: systemClock.now() });
      const report = await check();
      expect(found(report)).toEqual({ unverifiable: 2 });
      expect(report).toMatchObject({ clean: false, verdict: 'uncertain' });
      const owned = await shop.store.outbox.own();
      await owned?.readFresh(1);
      while (await owned?.purge(systemClock.now() + 10_000, systemClock.now()));
      await owned?.release();
      expect(found(await check())).toEqual({ unverifiable: 2 });
    });

    it('leaves what one subscription lost where the inbox of another has forgotten it: it would take effect twice', async () => {
      await order(1);
      await handled.waitFor(2);
      const after = systemClock.now() + 1;
      await eventually(
        async () => systemClock.now(),
        (now) => now > after,
        'a later time',
      );
      await mailer.store.purgeInbox({ subscription: 'mail', before: systemClock.now() });
      await shop.query('DELETE FROM inbox');
      const report = await check({ repair: { bus } });
      expect(found(report)).toEqual({ partlyLost: 1 });
      expect(report.repair).toMatchObject({ republished: 0, needsPersonCount: 1 });
      expect(report.repair.needsPerson[0]?.why).toContain('the inbox of "mail" may have forgotten');
      // Control: an inbox that does not know how far it reaches back.
      await mailer.query('UPDATE inbox_mark SET kept_since = 0');
      await check({ repair: { bus } });
      await eventually(effects, (count) => count === 2, 'the effect that came twice');
    });

    it('leaves to a person what would turn a key round or be handled twice', async () => {
      lost.add(1);
      await order(1, 2);
      await handled.waitFor(2);
      expect(found(await check())).toEqual({ settled: 1, lost: 1 });
      const inOrder = await check({ repair: { bus, inOrder: ['placed'] } });
      expect(inOrder.repair).toMatchObject({ republished: 0, needsPersonCount: 1 });
      const settled = [mailer.store.settled({ subscription: 'mail', channels: ['placed'] })];
      const bare = await check({ repair: { bus }, settled });
      expect(bare.repair.needsPerson[0]?.why).toContain('"stock" keeps no inbox');
      expect((await check({ repair: { bus, withoutInbox: true }, settled })).repair.republished).toBe(1);
    });

    it('leaves to a person what a repair would bring to a subscription that joined later', async () => {
      lost.add(1);
      await order(1);
      const since = systemClock.now() + 1;
      subscribe('audit', shop);
      const withAudit = (from: object) => ({
        settled: [
          mailer.store.settled({ subscription: 'mail', channels: ['placed'] }),
          ...[{ subscription: 'stock' }, { subscription: 'audit', ...from }].map((one) =>
            shop.store.settled({ ...one, channels: ['placed'] }),
          ),
        ],
      });
      const report = await check({ ...withAudit({ since }), repair: { bus } });
      expect(found(report)).toEqual({ lost: 1 });
      expect(report.repair).toMatchObject({ republished: 0, needsPersonCount: 1 });
      expect(report.repair.needsPerson[0]).toMatchObject({
        why: expect.stringContaining('"audit" joined later') as string,
        remedy: expect.stringContaining('leave out "since" of "audit"') as string,
      });
      // Control: nobody says that it joined later, and it handles what is older, too.
      expect((await check({ ...withAudit({}), repair: { bus } })).repair.republished).toBe(1);
      expect((await handled.waitFor(3)).toSorted()).toEqual(['audit 1', 'mail 1', 'stock 1']);
    });

    it('repairs the rest of a page where some of it is refused, and names what was', async () => {
      for (const n of [1, 2, 3, 4, 5, 6, 7]) lost.add(n);
      await order(1, 2, 3, 4, 5, 6, 7);
      const numberOf = (message: Message): number => (message.data as { n: number }).n;
      const forwards: number[][] = [];
      const strict: Pick<Bus, 'forward'> = {
        async forward(messages) {
          forwards.push(messages.map(({ message }) => numberOf(message)));
          for (const { message } of messages) {
            if (numberOf(message) === 2)
              throw new MessagingError('DB_MSG_MESSAGE_TOO_LARGE', 'larger than the engine takes');
            if (numberOf(message) === 4) throw new MessagingError('DB_MSG_UNROUTABLE', 'no queue yet');
          }
          return bus.forward(messages);
        },
      };
      const report = await check({ repair: { bus: strict } });
      expect(report.repair).toMatchObject({ republishable: 7, republished: 5, needsPersonCount: 1 });
      // 5 has the key of 2, and 7 that of 4: nothing waits behind what is refused.
      expect(
        forwards
          .flat()
          .toSorted((a, b) => a - b)
          .filter((n, index, all) => all.indexOf(n) === index),
      ).toEqual([1, 2, 3, 4, 5, 6, 7]);
      const idOf = async (n: number): Promise<string | undefined> => {
        const source = shop.store.recorded('shop');
        const { items } = await source.page({ from: 0, to: 1e15 }, { after: undefined, limit: 10 });
        return items.find(({ outgoing }) => outgoing && numberOf(outgoing.message) === n)?.id;
      };
      expect(report.repair.needsPerson).toEqual([
        expect.objectContaining({ id: await idOf(2), why: expect.stringContaining('larger than') as string }),
      ]);
      expect(report.repair.failures).toEqual([
        expect.stringContaining((await idOf(2)) ?? 'none'),
        expect.stringContaining((await idOf(4)) ?? 'none'),
      ]);
      await handled.waitFor(10);
    });

    it('ends a repair at what is wrong with the engine, and not with one message', async () => {
      for (const n of [1, 2, 3]) lost.add(n);
      await order(1, 2, 3);
      let calls = 0;
      const away: Pick<Bus, 'forward'> = {
        async forward() {
          calls += 1;
          throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the broker is away');
        },
      };
      const { repair } = await check({ repair: { bus: away } });
      expect(calls).toBe(1);
      expect(repair).toMatchObject({ republishable: 3, republished: 0, needsPersonCount: 0 });
      expect(repair.failures).toEqual([expect.stringContaining('the broker is away')]);
    });

    /** The records of a second producer, whose database fails at one of its calls. */
    const billing = (failing: 'page' | 'keptSince'): RecordedSource => ({
      ...boundRecords(shop.store.recorded('billing')),
      page: async () => ({ items: [], next: undefined }),
      [failing]: () => Promise.reject(new Error('wrong database')),
    });

    it('a repair that breaks half-way hands out what it did, and is gone on from without doing it again', async () => {
      for (const n of [1, 2, 3]) lost.add(n);
      await order(1, 2, 3);
      let forwarded = 0;
      const counting: Pick<Bus, 'forward'> = {
        forward(messages) {
          forwarded += messages.length;
          return bus.forward(messages);
        },
      };
      const records = shop.store.recorded('shop');
      const broken = { recorded: [records, billing('page')], repair: { bus: counting } };
      const error: unknown = await check(broken).catch((one: unknown) => one);
      expect(error).toBeInstanceOf(ReconciliationBroken);
      const { report, cause, message } = error as ReconciliationBroken;
      expect(message).toContain('3 messages had been published again: Error: wrong database');
      expect(cause).toMatchObject({ message: 'wrong database' });
      expect(report).toMatchObject({ complete: false, checked: { recorded: 3 }, counts: { lost: 3 } });
      expect(report.resume).toEqual({ phase: 'recorded', source: 1, after: undefined });
      expect(report.repair).toMatchObject({ republishable: 3, republished: 3 });
      const whole = { ...broken, recorded: [records, boundRecords(records)] };
      await handled.waitFor(6);
      const rest = await check({
        ...whole,
        earlier: JSON.parse(JSON.stringify(report)) as ReconciliationReport,
      });
      expect(rest).toMatchObject({ complete: true, checked: { recorded: 6 }, repair: { republished: 3 } });
      expect(forwarded).toBe(3);
      // Control: from the start what was lost is published again as long as nobody has settled it.
      await mailer.query('DELETE FROM inbox');
      await check({ ...whole, recorded: [records] });
      expect(forwarded).toBe(6);
    });

    it('opens every source and log before it repairs anything', async () => {
      lost.add(1);
      await order(1);
      const forward = () => Promise.reject(new Error('published'));
      const recorded = [shop.store.recorded('shop'), billing('keptSince')];
      await expect(check({ recorded, repair: { bus: { forward } } })).rejects.toThrow('wrong database');
      const away = async () => Promise.reject(new Error('no table'));
      const decisions = [{ note: async () => {}, about: async () => [], since: away }];
      await expect(check({ decisions, repair: { bus: { forward } } })).rejects.toThrow('no table');
      // Control: a dry run publishes nothing, and what breaks it is told as it is.
      const dry = check({ recorded: [shop.store.recorded('shop'), billing('page')] });
      await expect(dry).rejects.not.toBeInstanceOf(ReconciliationBroken);
    });

    it('looks at a window only, in pages that may stop and go on', async () => {
      lost.add(3);
      await order(1, 2, 3, 4, 5);
      await handled.waitFor(8);
      expect((await check({ window: { to: 1_000 } })).checked).toEqual({ recorded: 0, settled: 0 });
      for (const window of [{ from: 2_000, to: 1_000 }, { from: 1_000, to: 1_000 }, { from: 8e15 }])
        await expect(check({ window })).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
      const phases: string[] = [];
      let report = await check({
        pageSize: 2,
        maxMessages: 1,
        onProgress: ({ phase }) => phases.push(phase),
      });
      let steps = 1;
      for (; !report.complete; steps += 1)
        report = await check({
          pageSize: 2,
          maxMessages: 1,
          earlier: JSON.parse(JSON.stringify(report)) as ReconciliationReport,
        });
      expect(steps).toBeGreaterThan(4);
      expect(found(report)).toEqual({ settled: 4, lost: 1 });
      expect(report.checked).toEqual({ recorded: 5, settled: 8 });
      expect(phases).toEqual(['recorded']);
    });
  });
