/** A relay that keeps rows for ever purges none, and one that waits for a channel for ever never gives up on it: on all stores, with the controls that do. */
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defineChannel } from '../channel.ts';
import { type Clock, systemClock } from '../clock.ts';
import { eventually } from '../conformance/fixture.ts';
import type { OutgoingMessage } from '../engine.ts';
import { MessagingError } from '../errors.ts';
import { createIds } from '../ids.ts';
import { createKeyedRelay, type KeyedRelay, type KeyedRelayOptions } from '../keyed-relay.ts';
import { createOutboxWriter } from '../outbox.ts';
import type { OutboxStore, OwnedOutbox } from '../outbox-store.ts';
import { type StoreFixture, storeChoices } from './fixture.ts';

const steps = defineChannel({
  name: 'steps',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  order: 'key',
});
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/test' });
const step = (n: number): OutgoingMessage => write(steps, { n }, { key: 'a' });
const DECADES_MS = 1e12;
const endless = Number.POSITIVE_INFINITY;

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(`for ever on ${kind}${missing ? ` (needs ${missing})` : ''}`, () => {
    let fixture: StoreFixture;
    let relay: KeyedRelay | undefined;
    let passedMs: number;
    let purges: number;
    let tries: number;
    let isDeclared: boolean;

    beforeEach(async () => {
      fixture = await create();
      [passedMs, purges, tries, isDeclared] = [0, 0, 0, true];
    });
    afterEach(async () => {
      await relay?.stop({ drainMs: 0 });
      await fixture.destroy();
    });

    const clock: Clock = {
      now: () => systemClock.now() + passedMs,
      monotonic: () => systemClock.monotonic() + passedMs,
      setTimer: (ms, fn) => systemClock.setTimer(ms, fn),
    };
    const forward = async (): Promise<never[]> => {
      tries += 1;
      if (isDeclared) return [];
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', 'it was never declared');
    };
    /** Counts what was purged to its end. */
    function counting(owned: OwnedOutbox): OwnedOutbox {
      return {
        get lost() {
          return owned.lost;
        },
        readFresh: (limit) => owned.readFresh(limit),
        heldLanes: () => owned.heldLanes(),
        readWaiting: (of, page) => owned.readWaiting(of, page),
        record: (progress) => owned.record(progress),
        async purge(before, now) {
          const more = await owned.purge(before, now);
          purges += 1;
          return more;
        },
        release: () => owned.release(),
      };
    }
    function start(options: Partial<KeyedRelayOptions>): void {
      const { outbox } = fixture.store;
      const counted: OutboxStore = {
        ...outbox,
        async own() {
          const owned = await outbox.own();
          return owned && counting(owned);
        },
      };
      relay = createKeyedRelay({
        outbox: counted,
        bus: { forward },
        clock,
        sweepMs: 20,
        backOffMs: 5,
        ...options,
      });
      relay.start();
    }
    const append = (messages: readonly OutgoingMessage[]): Promise<void> =>
      fixture.store.inbox.transaction((tx) => fixture.store.append(tx, messages));
    const published = (count: number) =>
      eventually(
        async () => relay?.view().published ?? 0,
        (all) => all >= count,
        'the rows published',
      );
    /** Two, because the first may have begun before. */
    const purgedAgain = (): Promise<number> => {
      const before = purges;
      return eventually(
        async () => {
          passedMs += 6_000;
          return purges;
        },
        (now) => now >= before + 2,
        'two purges',
      );
    };
    const left = async (): Promise<number> =>
      Number((await fixture.query('SELECT count(*) AS c FROM outbox'))[0]?.c);
    const view = () => fixture.store.outbox.view(clock.now());

    it('what was published stays, and reconciliation knows when that was', async () => {
      start({ keepMs: endless });
      await append([step(1), step(2)]);
      await published(2);
      passedMs += DECADES_MS;
      await purgedAgain();
      expect(await left()).toBe(2);
      expect(relay?.view()).toMatchObject({ failures: 0 });
      const source = fixture.store.recorded('shop');
      // On PostgreSQL whatever else runs on the server holds back what is known to be the end of it.
      await eventually(
        async () => (await source.page({ from: 0, to: clock.now() }, { limit: 10, after: undefined })).items,
        (items) => items.filter(({ publishedAt }) => publishedAt !== undefined).length === 2,
        'both times',
      );
      expect(await source.keptSince()).toBe(0);
    });

    it('control: with an end to it everything goes', async () => {
      start({ keepMs: DECADES_MS / 2 });
      await append([step(1), step(2)]);
      await published(2);
      await purgedAgain();
      expect(await left()).toBe(2);
      passedMs += DECADES_MS;
      await eventually(
        async () => {
          passedMs += 6_000;
          return left();
        },
        (rows) => rows === 0,
        'everything gone',
      );
    });

    const refused = async (options: Partial<KeyedRelayOptions>): Promise<void> => {
      isDeclared = false;
      start(options);
      await append([step(1), step(2)]);
      await eventually(view, ({ waiting }) => waiting === 2, 'two that wait');
      passedMs += DECADES_MS;
      const before = tries;
      await eventually(
        async () => tries,
        (now) => now >= before + 2,
        'two more tries',
      );
    };

    it('a channel that nobody declares is tried on, and its rows come when somebody does', async () => {
      await refused({ undeclaredMs: endless });
      expect(await view()).toMatchObject({ waiting: 2, parked: 0, unpublished: 0 });
      isDeclared = true;
      await published(2);
    });

    it('control: with an end to it they are parked', async () => {
      isDeclared = false;
      start({ undeclaredMs: DECADES_MS / 2 });
      await append([step(1), step(2)]);
      await eventually(view, ({ waiting }) => waiting === 2, 'two that wait');
      passedMs += DECADES_MS;
      await eventually(view, ({ parked }) => parked === 1, 'the first of its key parked');
      expect((await fixture.store.outbox.parked({ limit: 2 }))[0]?.reason).toContain('never declared');
    });
  });
