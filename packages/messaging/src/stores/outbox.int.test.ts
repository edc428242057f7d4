/**
 * The outbox on all three stores with the relay that keeps keys in order: nothing is lost, skipped or turned round, one relay publishes at a time. Each promise
 * has its control: the same test with the defence off has to fail.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defineChannel } from '../channel.ts';
import { systemClock } from '../clock.ts';
import { eventually, signal } from '../conformance/fixture.ts';
import type { OutgoingMessage } from '../engine.ts';
import { MessagingError, type MessagingErrorCode } from '../errors.ts';
import { createIds } from '../ids.ts';
import { createKeyedRelay, type KeyedRelay, type KeyedRelayOptions } from '../keyed-relay.ts';
import { silentLog } from '../log.ts';
import { createOutboxWriter } from '../outbox.ts';
import { run, type StoreFixture, storeChoices } from './fixture.ts';

const relayChild = fileURLToPath(new URL('./relay-child.ts', import.meta.url));
const steps = defineChannel({
  name: 'steps',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  order: 'key',
});
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/test' });
const step = (key: string, n: number): OutgoingMessage => write(steps, { n }, { key });

/** An engine in memory: what it stored, and what it refuses. */
class FakeBus {
  readonly stored: string[] = [];
  /** By `key n`: thrown instead of storing. */
  readonly refused = new Map<string, MessagingErrorCode>();
  down = false;
  /** Stores what it can of a batch before it rejects, as a broker with a confirm per message does. */
  storesParts = false;

  forward = async (messages: readonly OutgoingMessage[]): Promise<never[]> => {
    if (this.down) throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'down');
    const names = messages.map(({ message }) => `${message.key} ${(message.data as { n: number }).n}`);
    const bad = names.find((name) => this.refused.has(name));
    if (bad === undefined) this.stored.push(...names);
    else {
      if (this.storesParts) this.stored.push(...names.filter((name) => !this.refused.has(name)));
      throw new MessagingError(this.refused.get(bad) as MessagingErrorCode, `refused ${bad}`);
    }
    return [];
  };

  /** What came of a key, each number once, at its first arrival. */
  of(key: string): number[] {
    const all = this.stored
      .filter((name) => name.startsWith(`${key} `))
      .map((name) => Number(name.split(' ')[1]));
    return [...new Set(all)];
  }
}

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(`outbox on ${kind}${missing ? ` (${missing} is not set)` : ''}`, () => {
    let fixture: StoreFixture;
    let bus: FakeBus;
    const relays: KeyedRelay[] = [];

    beforeEach(async () => {
      fixture = await create();
      bus = new FakeBus();
    });
    afterEach(async () => {
      for (const relay of relays.splice(0)) await relay.stop({ drainMs: 0 });
      await fixture.destroy();
    });

    const append = (messages: readonly OutgoingMessage[]): Promise<void> =>
      fixture.store.inbox.transaction((tx) => fixture.store.append(tx, messages));
    function relayOf(options: Partial<KeyedRelayOptions> = {}): KeyedRelay {
      const relay = createKeyedRelay({
        outbox: fixture.store.outbox,
        bus,
        clock: systemClock,
        sweepMs: 20,
        backOffMs: 5,
        ...options,
      });
      relays.push(relay);
      relay.start();
      return relay;
    }
    const arrived = (count: number): Promise<number> =>
      eventually(
        async () => new Set(bus.stored).size,
        (size) => size >= count,
        `${count} messages`,
      );
    const view = () => fixture.store.outbox.view(systemClock.now());

    it('takes messages with the transaction and only inside of one', async () => {
      await fixture.store.inbox
        .transaction(async (tx) => {
          await fixture.store.append(tx, [step('a', 1)]);
          throw new Error('rolled back');
        })
        .catch(() => {});
      let outside: unknown;
      await fixture.store.inbox.transaction(async (tx) => {
        outside = tx;
      });
      await expect(fixture.store.append(outside, [step('a', 2)])).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
      expect(await view()).toMatchObject({ unpublished: 0 });
    });

    it('lets rows of a channel that is not declared wait for it, tells it, and publishes them in order when it is', async () => {
      const told: unknown[] = [];
      for (const name of ['a 1', 'b 1']) bus.refused.set(name, 'DB_MSG_UNKNOWN_CHANNEL');
      const log = { ...silentLog, error: (fields: object, what: string) => told.push([fields, what]) };
      const relay = relayOf({ log });
      await append([step('a', 1), step('a', 2), step('b', 1)]);
      await eventually(view, ({ waiting }) => waiting === 3, 'three that wait');
      expect(await view()).toMatchObject({ parked: 0, unpublished: 0 });
      expect(relay.view().undeclared).toEqual(['steps']);
      expect(told).toEqual([
        [{ channel: 'steps', parkedAfterMs: 3_600_000 }, expect.stringContaining('not declared')],
      ]);
      bus.refused.clear();
      await arrived(3);
      expect([bus.of('a'), bus.of('b')]).toEqual([[1, 2], [1]]);
      await eventually(view, ({ waiting }) => waiting === 0, 'none that waits');
      expect(relay.view().undeclared).toEqual([]);
    });

    it('parks them when the channel stays undeclared for too long, and a person may send them on their way again', async () => {
      bus.refused.set('a 1', 'DB_MSG_UNKNOWN_CHANNEL');
      relayOf({ undeclaredMs: 100 });
      await append([step('a', 1), step('a', 2)]);
      await eventually(view, ({ parked, waiting }) => parked === 1 && waiting === 1, 'one parked');
      bus.refused.clear();
      const [row] = await fixture.store.outbox.parked({ limit: 10 });
      expect(row?.reason).toContain('refused a 1');
      expect(await fixture.store.outbox.retryParked([row?.number ?? 0], systemClock.now())).toBe(1);
      await arrived(2);
      expect(bus.of('a')).toEqual([1, 2]);
    });

    it('reads nothing of a transaction that is still open', async () => {
      const owned = await fixture.store.outbox.own();
      const appended = signal();
      const read = appended.fired.then(() => owned?.readFresh(10));
      await fixture.store.inbox
        .transaction(async (tx) => {
          await fixture.store.append(tx, [step('a', 1)]);
          appended.fire();
          // A connection that is shared answers after the end of the transaction, one of its own at once.
          if (kind !== 'sqlite') await read;
          throw new Error('rolled back');
        })
        .catch(() => {});
      expect(await read).toEqual([]);
      await owned?.release();
    });

    it('publishes across batches in the order of each key, keeps rows for a while, then purges them', async () => {
      for (let n = 1; n <= 30; n += 1) await append([step('a', n), step('b', n), step('c', n)]);
      const relay = relayOf({ batchSize: 7, keepMs: 3_600_000 });
      await arrived(90);
      for (const key of ['a', 'b', 'c'])
        expect(bus.of(key)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
      expect(bus.stored).toHaveLength(90);
      await relay.stop();
      const count = async (): Promise<number> =>
        Number((await fixture.query('SELECT count(*) AS c FROM outbox'))[0]?.c);
      expect(await count()).toBe(90);
      const owned = await fixture.store.outbox.own();
      const later = systemClock.now() + 10_000;
      await owned?.readFresh(1);
      while (await owned?.purge(later, systemClock.now()));
      await owned?.release();
      expect(await count()).toBe(0);
      await append([step('a', 31)]);
      relayOf();
      await arrived(91);
    });

    it('holds back one key that fails for a while; the others go on, and its order stays', async () => {
      bus.refused.set('a 2', 'DB_MSG_UNROUTABLE');
      await append([step('a', 1), step('a', 2), step('a', 3), step('b', 1), step('b', 2)]);
      relayOf();
      await arrived(3);
      await append([step('a', 4), step('b', 3)]);
      await arrived(4);
      expect(bus.of('a')).toEqual([1]);
      expect(bus.of('b')).toEqual([1, 2, 3]);
      bus.refused.clear();
      await arrived(7);
      expect(bus.of('a')).toEqual([1, 2, 3, 4]);
      await eventually(view, ({ waiting, unpublished }) => waiting + unpublished === 0, 'nothing waits');
    });

    it('control: with whole batches on an engine that stores parts, a key overtakes itself', async () => {
      bus.refused.set('a 1', 'DB_MSG_UNROUTABLE');
      bus.storesParts = true;
      const publish = async (keyOrder: 'strict' | 'batched'): Promise<number[]> => {
        await append([step('a', 1), step('a', 2), step('b', 1)]);
        const relay = relayOf({ keyOrder });
        await eventually(
          async () => bus.of('b'),
          (of) => of.length > 0,
          'the other key',
        );
        bus.refused.clear();
        await eventually(
          async () => bus.of('a'),
          (of) => of.length === 2,
          'the key',
        );
        await relay.stop();
        return bus.of('a');
      };
      expect(await publish('strict')).toEqual([1, 2]);
      bus = new FakeBus();
      bus.refused.set('a 1', 'DB_MSG_UNROUTABLE');
      bus.storesParts = true;
      expect(await publish('batched')).toEqual([2, 1]);
    });

    it('parks what is refused for good, with the reason; a person lets it go or tries it again', async () => {
      bus.refused.set('a 1', 'DB_MSG_MESSAGE_TOO_LARGE');
      bus.refused.set('c 1', 'DB_MSG_MESSAGE_TOO_LARGE');
      await append([step('a', 1), step('b', 1), step('c', 1), step('a', 2), step('c', 2)]);
      relayOf();
      await eventually(view, ({ parked, waiting }) => parked === 2 && waiting === 2, 'two parked');
      const [first, second] = await fixture.store.outbox.parked({ limit: 10 });
      expect(first?.reason).toContain('refused a 1');
      expect(await fixture.store.outbox.discardParked([first?.number ?? 0], systemClock.now())).toBe(1);
      await eventually(
        async () => bus.of('a'),
        (of) => of.length === 1,
        'the next of the key',
      );
      bus.refused.clear();
      expect(await fixture.store.outbox.retryParked([second?.number ?? 0], systemClock.now())).toBe(1);
      await eventually(
        async () => bus.of('c'),
        (of) => of.length === 2,
        'the key that was tried again',
      );
      expect(bus.of('a')).toEqual([2]);
      expect(bus.of('c')).toEqual([1, 2]);
      expect(await fixture.store.outbox.discardParked([1, 2, 3, 4, 5], systemClock.now())).toBe(0);
    });

    it('goes on without a refused row of a key where that is the policy', async () => {
      bus.refused.set('a 1', 'DB_MSG_MESSAGE_TOO_LARGE');
      await append([step('a', 1), step('a', 2)]);
      relayOf({ onPoison: 'skip' });
      await arrived(1);
      await append([step('a', 3)]);
      await arrived(2);
      expect(bus.of('a')).toEqual([2, 3]);
    });

    it('parks a row that cannot be read', async () => {
      await append([step('a', 1), step('b', 1)]);
      if (kind !== 'sqlite') await fixture.query(`UPDATE outbox SET body = 'broken' WHERE number = 1`);
      else await fixture.query(`UPDATE outbox SET body = '{"id":"x"}' WHERE number = 1`);
      relayOf();
      await arrived(1);
      await eventually(view, ({ parked }) => parked === 1, 'one parked');
      expect(bus.stored).toEqual(['b 1']);
    });

    it('parks it again when a person lets it go on as it is, and nothing of its key passes it', async () => {
      await append([step('a', 1), step('a', 2), step('b', 1)]);
      bus.refused.set('a 1', 'DB_MSG_MESSAGE_TOO_LARGE');
      const relay = relayOf();
      await eventually(view, ({ parked, waiting }) => parked === 1 && waiting === 1, 'the key parked');
      await fixture.query(`UPDATE outbox SET body = '{"id":"x"}' WHERE number = 1`);
      bus.refused.clear();
      expect(await fixture.store.outbox.retryParked([1], systemClock.now())).toBe(1);
      const isBack = async () => (await fixture.store.outbox.parked({ limit: 5 }))[0]?.reason ?? '';
      await eventually(isBack, (reason) => reason !== '' && !reason.includes('refused'), 'it parked again');
      expect(await view()).toMatchObject({ parked: 1, waiting: 1 });
      expect(bus.stored).toEqual(['b 1']);
      expect(await fixture.store.outbox.discardParked([1], systemClock.now())).toBe(1);
      await arrived(2);
      expect(bus.stored).toEqual(['b 1', 'a 2']);
      expect(relay.view().failures).toBe(0);
    });

    it('waits, and parks nothing, while the server refuses the credentials', async () => {
      await append([step('a', 1), step('b', 1)]);
      for (const name of ['a 1', 'b 1']) bus.refused.set(name, 'DB_MSG_ENGINE_REFUSED');
      const relay = relayOf();
      await eventually(
        async () => relay.view().failures,
        (failures) => failures > 1,
        'failures',
      );
      expect(await view()).toMatchObject({ unpublished: 2, parked: 0, waiting: 0 });
      bus.refused.clear();
      await arrived(2);
    });

    it('is taken up by a relay that was there before its tables', async () => {
      const names = ['outbox_mark', 'outbox_runs'];
      for (const name of names) await fixture.query(`ALTER TABLE ${name} RENAME TO ${name}_later`);
      const relay = relayOf();
      const failures = (more: number) =>
        eventually(
          async () => relay.view().failures,
          (count) => count >= more,
          `${more} failures`,
        );
      await failures(2);
      await fixture.query(`ALTER TABLE outbox_mark_later RENAME TO outbox_mark`);
      await failures(relay.view().failures + 2);
      await fixture.query(`ALTER TABLE outbox_runs_later RENAME TO outbox_runs`);
      await append([step('a', 1)]);
      await arrived(1);
      await relay.stop();
      const other = await (await fixture.open()).outbox.own();
      expect(other).toBeDefined();
      await other?.release();
    });

    it('is not let go by a second stop while the first still publishes', async () => {
      const underWay = signal();
      const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
      const relay = relayOf({
        bus: {
          forward: async (messages) => {
            underWay.fire();
            await answered;
            return bus.forward(messages);
          },
        },
      });
      await append([step('a', 1)]);
      await underWay.fired;
      const first = relay.stop();
      const second = relay.stop({ drainMs: 0 });
      let isOver = false;
      void Promise.race([first, second]).then(() => (isOver = true));
      const store = await fixture.open();
      for (let look = 0; look < 3; look += 1) expect(await store.outbox.own()).toBeUndefined();
      expect(isOver).toBe(false);
      answer();
      await Promise.all([first, second]);
      const next = await store.outbox.own();
      expect(await next?.readFresh(10)).toEqual([]);
      await next?.release();
    });

    it('loses and doubles nothing when the engine is down in between', async () => {
      bus.down = true;
      await append([step('a', 1), step('a', 2), step('b', 1)]);
      const relay = relayOf();
      await eventually(
        async () => relay.view().failures,
        (failures) => failures > 1,
        'failures',
      );
      bus.down = false;
      await arrived(3);
      await relay.stop();
      expect(bus.stored.toSorted()).toEqual(['a 1', 'a 2', 'b 1']);
    });

    it('is published by one relay at a time; another takes over', async () => {
      const first = relayOf();
      await eventually(async () => first.view().owner, Boolean, 'an owner');
      const second = relayOf({ outbox: (await fixture.open()).outbox });
      await append([step('a', 1), step('a', 2)]);
      await arrived(2);
      expect([first.view().owner, second.view().owner]).toEqual([true, false]);
      await first.stop();
      await append([step('a', 3)]);
      await arrived(3);
      await eventually(
        async () => second.view(),
        ({ owner, published }) => owner && published === 1,
        'the takeover',
      );
    });

    it('is taken over when the process of its relay is killed, without a gap', async () => {
      for (let n = 1; n <= 40; n += 1) await append([step('a', n)]);
      const child = spawn(process.execPath, [relayChild, fixture.address], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(child, 'close');
      let told = '';
      const enough = Promise.withResolvers<void>();
      child.stdout.on('data', (text: Buffer) => {
        told += String(text);
        if (told.split('\n').length > 10) enough.resolve();
      });
      await enough.promise;
      const second = relayOf();
      await eventually(
        async () => second.view().owner,
        (owner) => !owner,
        'a look at the lock',
      );
      child.kill('SIGKILL');
      await exited;
      await eventually(
        async () => bus.of('a').at(-1),
        (last) => last === 40,
        'the takeover',
      );
      const before = told.trim().split('\n');
      // What the first one published and had not marked comes again, with its id, and nothing is left out.
      const first = Number(bus.stored[0]?.split(' ')[1]);
      expect(first).toBeGreaterThan(before.length - 1);
      expect(first).toBeLessThanOrEqual(before.length + 1);
      expect(bus.of('a')).toEqual(Array.from({ length: 41 - first }, (_, i) => first + i));
    });

    // SQLite has one writer, so transactions that append cannot overlap, and no connection that could be cut.
    if (kind !== 'sqlite') withServer();

    function withServer(): void {
      it('takes the outbox again after its connection was cut', async () => {
        const relay = relayOf();
        await eventually(async () => relay.view().owner, Boolean, 'an owner');
        const [owner] = await fixture.query(
          kind === 'postgres'
            ? `SELECT pid AS id FROM pg_locks WHERE locktype = 'advisory'
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
            : `SELECT IS_USED_LOCK(CONCAT('doorbuster.outbox.', MD5(DATABASE()))) AS id`,
        );
        await fixture.query(
          kind === 'postgres' ? `SELECT pg_terminate_backend(${owner?.id})` : `KILL ${owner?.id}`,
        );
        await append([step('a', 1)]);
        await arrived(1);
        await eventually(
          async () => relay.view(),
          ({ owner: owns, published }) => owns && published === 1,
          'the mark',
        );
        expect(bus.stored).toEqual(['a 1']);
      });

      /** Two transactions append; the one that was first commits last. Every row has to be read, by whatever reads. */
      async function slowTransaction(
        appendRow: (tx: unknown, message: OutgoingMessage) => Promise<void>,
        read: () => Promise<readonly number[]>,
      ): Promise<readonly number[]> {
        const slow = await fixture.open();
        const quick = await fixture.open();
        const seen: number[] = [];
        const look = async (): Promise<void> => void seen.push(...(await read()));
        const appended = Promise.withResolvers<void>();
        const mayCommit = Promise.withResolvers<void>();
        const slowEnd = slow.inbox.transaction(async (tx) => {
          await appendRow(tx, step('slow', 1));
          appended.resolve();
          await mayCommit.promise;
        });
        await appended.promise;
        const quickEnd = quick.inbox.transaction((tx) => appendRow(tx, step('quick', 2)));
        // On PostgreSQL the quick one commits now; on MariaDB it waits for the slow one, which is the defence.
        await Promise.race([quickEnd, eventually(isWaiting, Boolean, 'the quick one done or waiting')]);
        await look();
        mayCommit.resolve();
        await Promise.all([slowEnd, quickEnd]);
        await eventually(
          async () => {
            await look();
            return seen.length;
          },
          (length) => length >= 1,
          'something read',
        );
        await look();
        return seen;
      }
      const isWaiting = async (): Promise<boolean> => {
        if (kind !== 'mariadb') return false;
        const rows = await fixture.query(
          `SELECT count(*) AS c FROM information_schema.processlist
         WHERE db = DATABASE() AND info LIKE 'UPDATE outbox_counter%'`,
        );
        return Number(rows[0]?.c) > 0;
      };

      it('21: skips no row of a transaction that commits late', async () => {
        const owned = await fixture.store.outbox.own();
        const seen = await slowTransaction(
          (tx, message) => fixture.store.append(tx, [message]),
          async () => {
            const rows = (await owned?.readFresh(100)) ?? [];
            const upTo = rows.at(-1)?.number;
            if (upTo !== undefined)
              await owned?.record({ upTo, waiting: [], parked: [], published: [], now: systemClock.now() });
            return rows.map(({ body }) => (JSON.parse(body) as { data: { n: number } }).data.n);
          },
        );
        await owned?.release();
        expect(new Set(seen)).toEqual(new Set([1, 2]));
        expect(seen).toHaveLength(2);
      });

      it('control: a reader that goes by numbers loses that row', async () => {
        const identity = kind === 'postgres' ? 'GENERATED ALWAYS AS IDENTITY' : 'AUTO_INCREMENT';
        await fixture.query(`CREATE TABLE naive (seq BIGINT ${identity} PRIMARY KEY, n INT NOT NULL)`);
        let last = 0;
        const seen = await slowTransaction(
          async (tx, { message }) =>
            void (await run(kind, tx, `INSERT INTO naive (n) VALUES (${(message.data as { n: number }).n})`)),
          async () => {
            const rows = await fixture.query(`SELECT seq, n FROM naive WHERE seq > ${last} ORDER BY seq`);
            last = Math.max(last, ...rows.map(({ seq }) => Number(seq)));
            return rows.map(({ n }) => Number(n));
          },
        );
        expect(seen).toEqual([2]);
      });
    }
  });
