/** Effectively once on all three stores: repeats, concurrent repeats, failures and kills between the work and its commit; with the control that notes too early. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../clock.ts';
import { handleOnce, type InboxStore } from '../handle-once.ts';
import { ack, deadLetter, type Outcome, retry } from '../outcome.ts';
import { run, type StoreFixture, storeChoices } from './fixture.ts';

const child = fileURLToPath(new URL('./inbox-child.ts', import.meta.url));

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(`inbox on ${kind}${missing ? ` (${missing} is not set)` : ''}`, () => {
    let fixture: StoreFixture;

    beforeEach(async () => {
      fixture = await create();
      await fixture.query('CREATE TABLE effects (n INTEGER NOT NULL)');
    });
    afterEach(() => fixture.destroy());

    const effect = async (tx: unknown): Promise<undefined> => {
      await run(kind, tx, 'INSERT INTO effects (n) VALUES (1)');
    };
    const effects = async (): Promise<number> =>
      Number((await fixture.query('SELECT count(*) AS c FROM effects'))[0]?.c);
    const handle = (
      id: string,
      work: (tx: unknown) => Promise<Outcome | undefined> | Promise<void> = effect,
      inbox: InboxStore<unknown> = fixture.store.inbox,
    ): Promise<Outcome> =>
      handleOnce({ inbox, subscription: 'mail', message: { id }, clock: systemClock, work });

    it('lets a message take effect once and acknowledges its repeats', async () => {
      expect(await handle('m1')).toEqual(ack());
      expect(await handle('m1')).toEqual(ack());
      // Bytes, not a collation: these are other messages.
      for (const id of ['M1', 'm1 ', 'm\u00e9']) await handle(id);
      expect(await effects()).toBe(4);
    });

    const answering =
      (outcome: Outcome) =>
      async (tx: unknown): Promise<Outcome | undefined> => {
        await effect(tx);
        return outcome;
      };

    it('keeps nothing of work that failed or did not answer with an ack', async () => {
      const failing = async (tx: unknown): Promise<void> => {
        await effect(tx);
        throw new Error('halfway');
      };
      await expect(handle('m1', failing)).rejects.toThrow('halfway');
      for (const outcome of [retry(), deadLetter('never')])
        expect(await handle('m1', answering(outcome))).toEqual(outcome);
      expect(await effects()).toBe(0);
      await handle('m1');
      expect(await effects()).toBe(1);
    });

    it('does not take work for stored whose transaction the database gave up', async () => {
      const swallowing = async (tx: unknown): Promise<void> => {
        await effect(tx);
        await run(kind, tx, kind === 'mariadb' ? 'ROLLBACK' : 'SELECT * FROM nowhere').catch(() => {});
        if (kind === 'sqlite') await run(kind, tx, 'ROLLBACK');
      };
      await expect(handle('m1', swallowing)).rejects.toThrow(/transaction/);
      expect(await effects()).toBe(0);
    });

    it('takes effect once when the same message is at two connections at the same time', async () => {
      const other = (await fixture.open()).inbox;
      const attempts = Array.from({ length: 8 }, (_, index) =>
        handle('m1', effect, index % 2 ? other : fixture.store.inbox).catch((error: unknown) => error),
      );
      const outcomes = await Promise.all(attempts);
      expect(outcomes).toContainEqual(ack());
      expect(await effects()).toBe(1);
    });

    /** A process is killed when its work is done and its transaction is not; the message then comes again. */
    async function killedInBetween(mode: 'inside' | 'outside'): Promise<number> {
      const process_ = spawn(process.execPath, [child, fixture.address, kind, mode], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(process_, 'exit');
      const [told] = (await once(process_.stdout, 'data')) as [Buffer];
      expect(String(told)).toBe('worked\n');
      process_.kill('SIGKILL');
      await exited;
      await handle('m1');
      return effects();
    }

    it('loses no effect when the process dies between the work and its commit', async () => {
      expect(await killedInBetween('inside')).toBe(1);
    });

    it('control: an id noted in a transaction of its own loses the effect, and this test sees it', async () => {
      expect(await killedInBetween('outside')).toBe(0);
    });

    it('refuses to note an id outside of a transaction', async () => {
      let outside: unknown;
      await fixture.store.inbox.transaction(async (tx) => {
        outside = tx;
      });
      const entry = { subscription: 'mail', messageId: 'm1', now: 1 };
      await expect(fixture.store.inbox.alreadyHandled(outside, entry)).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
    });

    it('forgets by age, the oldest first, and remembers up to when', async () => {
      await fixture.store.inbox.transaction(async (tx) => {
        for (let now = 1; now <= 10; now += 1)
          await fixture.store.inbox.alreadyHandled(tx, { subscription: 'mail', messageId: `m${now}`, now });
      });
      const settled = fixture.store.settled({ subscription: 'mail', channels: ['orders'] });
      expect(await settled.keptSince()).toBe(0);
      expect(await fixture.store.purgeInbox({ subscription: 'mail', before: 6, limit: 3 })).toBe(3);
      expect(await fixture.store.purgeInbox({ subscription: 'mail', before: 6 })).toBe(2);
      expect(await fixture.store.purgeInbox({ subscription: 'other', before: 100 })).toBe(0);
      expect(await settled.keptSince()).toBe(6);
      expect([...(await settled.settled(['m5', 'm6', 'm7']))].toSorted()).toEqual(['m6', 'm7']);
    });
  });
