/**
 * A relay takes over an outbox with thousands of rows that wait, as in a rolling deployment: what nothing holds is not held up by them. Shown by
 * counting statements and publishes, not by time.
 */
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defineChannel } from '../channel.ts';
import { systemClock } from '../clock.ts';
import { decodeCloudEvent } from '../cloud-event.ts';
import { eventually } from '../conformance/fixture.ts';
import type { OutgoingMessage } from '../engine.ts';
import { MessagingError } from '../errors.ts';
import { createIds } from '../ids.ts';
import { createKeyedRelay, type KeyedRelay, type KeyedRelayOptions } from '../keyed-relay.ts';
import { createOutboxWriter } from '../outbox.ts';
import { laneOf, type OwnedOutbox, type StoredRow } from '../outbox-store.ts';
import { notedOutbox, type StoreFixture, storeChoices } from './fixture.ts';

const schema = Type.Object({ n: Type.Integer() });
const known = defineChannel({ name: 'known', version: 1, schema });
const added = defineChannel({ name: 'added', version: 1, schema });
const keyed = defineChannel({ name: 'keyed', version: 1, schema, order: 'key' });
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/test' });
const WAITING = 2_000;
const FRESH = 100;

const plain = (channel: typeof known | typeof added, count: number): OutgoingMessage[] =>
  Array.from({ length: count }, (_, n) => write(channel, { n }));
const withKeys = (count: number): OutgoingMessage[] =>
  Array.from({ length: count }, (_, n) => write(keyed, { n }, { key: `k${n}` }));

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(
    `an outbox on ${kind} that is taken over${missing ? ` (${missing} is not set)` : ''}`,
    () => {
      let fixture: StoreFixture;
      let relay: KeyedRelay | undefined;
      const texts: string[] = [];
      const undeclared = new Set<string>();
      /** Channels of what was asked for, a list for each publish. */
      const asked: string[][] = [];
      const stored: string[] = [];
      let textsAtFresh = 0;
      let waitingAtFresh = 0;

      beforeEach(async () => {
        fixture = await create();
        undeclared.clear();
        for (const list of [texts, asked, stored]) list.length = 0;
        textsAtFresh = 0;
      });
      afterEach(async () => {
        await relay?.stop({ drainMs: 0 });
        relay = undefined;
        await fixture.destroy();
      });

      const forward = async (messages: readonly OutgoingMessage[]): Promise<never[]> => {
        const channels = messages.map(({ channel }) => channel);
        asked.push(channels);
        const bad = channels.find((channel) => undeclared.has(channel));
        if (bad !== undefined)
          throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `"${bad}" was never declared`);
        if (textsAtFresh === 0 && channels.includes('known')) {
          textsAtFresh = texts.length;
          waitingAtFresh = stored.length;
        }
        stored.push(...channels);
        return [];
      };
      const append = (messages: readonly OutgoingMessage[]): Promise<void> =>
        fixture.store.inbox.transaction((tx) => fixture.store.append(tx, messages));

      /** On PostgreSQL any transaction of the server that has not ended holds rows back. */
      const readable = (owned: OwnedOutbox | undefined, count: number): Promise<readonly StoredRow[]> =>
        eventually(
          async () => (await owned?.readFresh(WAITING * 2)) ?? [],
          ({ length }) => length === count,
          'the rows',
        );
      async function appendFresh(): Promise<void> {
        await append(plain(known, FRESH));
        const owned = await fixture.store.outbox.own();
        await readable(owned, FRESH);
        await owned?.release();
      }

      /** What the relay before left. */
      async function leaveWaiting(messages: readonly OutgoingMessage[]): Promise<void> {
        await append(messages);
        const owned = await fixture.store.outbox.own();
        const rows = await readable(owned, messages.length);
        const waiting = rows.map(({ number, channel, body }) => ({
          number,
          lane: laneOf({ number, channel, message: decodeCloudEvent(body) }),
          reason: 'not declared',
        }));
        await owned?.record({ upTo: rows.at(-1)?.number, waiting, parked: [], published: [], now: 1 });
        await owned?.release();
      }

      function takeOver(options: Partial<KeyedRelayOptions> = {}): KeyedRelay {
        relay = createKeyedRelay({
          outbox: notedOutbox(fixture, texts),
          bus: { forward },
          clock: systemClock,
          sweepMs: 20,
          ...options,
        });
        relay.start();
        return relay;
      }
      const arrived = (count: number): Promise<number> =>
        eventually(
          async () => stored.length,
          (length) => length >= count,
          `${count} messages`,
        );

      it.each([
        ['rows without a key', () => plain(added, WAITING)],
        ['a row of each of as many keys', () => withKeys(WAITING)],
      ])('publishes fresh rows at once beside %s of a channel that is not declared', async (_what, rows) => {
        undeclared.add('added').add('keyed');
        await leaveWaiting(rows());
        await appendFresh();
        takeOver({ backOffMs: 60_000 });
        await arrived(FRESH);
        expect(textsAtFresh).toBeLessThan(10);
        const refused = asked.filter((channels) => channels.some((channel) => undeclared.has(channel)));
        expect(refused.length).toBeLessThanOrEqual(10);
        const view = await eventually(
          async () => relay?.view(),
          (seen) => seen?.published === FRESH,
          'the mark',
        );
        expect(view?.undeclared).toEqual([rows()[0]?.channel]);
      });

      it('reads rows without a key in batches, and fresh rows between them', async () => {
        await leaveWaiting(plain(added, WAITING));
        await appendFresh();
        takeOver();
        await arrived(WAITING + FRESH);
        expect(waitingAtFresh).toBeLessThanOrEqual(500);
        expect(asked.length).toBeLessThan(10);
        expect(texts.filter((text) => text.includes('o.body')).length).toBeLessThan(20);
      });

      it('tries some keys, then fresh rows, then the others', async () => {
        await leaveWaiting(withKeys(WAITING / 10));
        await appendFresh();
        takeOver();
        await arrived(WAITING / 10 + FRESH);
        expect(waitingAtFresh).toBeLessThan(50);
        await eventually(
          () => fixture.store.outbox.view(systemClock.now()),
          ({ waiting }) => waiting === 0,
          'none that waits',
        );
      });

      it('leaves no row behind of which some batches before were refused', async () => {
        undeclared.add('added');
        await leaveWaiting(plain(added, WAITING));
        takeOver({ backOffMs: 5, batchSize: 300 });
        await eventually(
          async () => asked.length,
          (length) => length > 12,
          'some tries',
        );
        expect(asked.slice(-2).map(({ length }) => length)).toEqual([1, 1]);
        undeclared.clear();
        await arrived(WAITING);
        expect(stored).toHaveLength(WAITING);
      });

      it('forgets a channel that is not declared when a person has discarded its rows', async () => {
        undeclared.add('added');
        await append(plain(added, 3));
        const { view } = takeOver({ undeclaredMs: 0 });
        const names = async () => view.call(relay as KeyedRelay).undeclared;
        const parked = () => fixture.store.outbox.parked({ limit: 10 });
        const rows = await eventually(parked, ({ length }) => length === 3, 'three parked');
        expect(await names()).toEqual(['added']);
        await fixture.store.outbox.discardParked(
          rows.map(({ number }) => number),
          systemClock.now(),
        );
        await eventually(names, ({ length }) => length === 0, 'none');
      });

      // Each database has its own words for a plan; the servers find the index by themselves.
      if (kind === 'sqlite') withPlan();

      function withPlan(): void {
        it('finds what waits by its index', async () => {
          await leaveWaiting([...plain(added, 5), ...withKeys(5)]);
          takeOver();
          await arrived(10);
          const reads = [...new Set(texts)].filter((text) => text.includes('outbox_held h CROSS JOIN'));
          expect(reads).toHaveLength(3);
          for (const text of reads) {
            const plan = await fixture.query(`EXPLAIN QUERY PLAN ${text.replaceAll('?', "'#1'")}`);
            const steps = plan.map(({ detail }) => String(detail));
            expect(steps[0]).toMatch(/^(SEARCH|SCAN) h USING INDEX outbox_held_by_lane/);
            expect(steps[1]).toMatch(/^SEARCH o USING INTEGER PRIMARY KEY/);
          }
        });
      }
    },
  );
