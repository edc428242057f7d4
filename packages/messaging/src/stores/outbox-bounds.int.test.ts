/** The largest batch that a relay may be given is one that every database can mark, and in few statements: rows that wait are published or parked once, not for ever. */
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defineChannel } from '../channel.ts';
import { type Clock, systemClock } from '../clock.ts';
import { eventually } from '../conformance/fixture.ts';
import type { OutgoingMessage } from '../engine.ts';
import { MessagingError } from '../errors.ts';
import { createIds } from '../ids.ts';
import { createKeyedRelay, type KeyedRelay } from '../keyed-relay.ts';
import type { OutboxSource } from '../outbox.ts';
import { createOutboxWriter } from '../outbox.ts';
import { laneWithoutKey } from '../outbox-store.ts';
import { createRelay } from '../relay.ts';
import { notedOutbox, type StoreFixture, storeChoices } from './fixture.ts';

const MOST = 10_000;
const notes = defineChannel({ name: 'notes', version: 1, schema: Type.Object({ n: Type.Integer() }) });
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/test' });
const notesUpTo = (count: number): readonly OutgoingMessage[] =>
  Array.from({ length: count }, (_, n) => write(notes, { n }));

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(`bounds of the outbox on ${kind}${missing ? ` (needs ${missing})` : ''}`, () => {
    let fixture: StoreFixture;
    let relay: KeyedRelay | undefined;

    beforeEach(async () => {
      fixture = await create();
    });
    afterEach(async () => {
      await relay?.stop({ drainMs: 0 });
      await fixture.destroy();
    });

    const held = async (state: string): Promise<number> =>
      Number(
        (await fixture.query(`SELECT count(*) AS c FROM outbox_held WHERE state = '${state}'`))[0]?.['c'],
      );

    it('the largest batch of rows that waited is published once and marked in one step', async () => {
      let isDeclared = false;
      const sizes: number[] = [];
      const forward = async (messages: readonly OutgoingMessage[]): Promise<never[]> => {
        if (!isDeclared) throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', 'it was never declared');
        sizes.push(messages.length);
        return [];
      };
      await fixture.store.inbox.transaction((tx) => fixture.store.append(tx, notesUpTo(MOST)));
      relay = createKeyedRelay({
        outbox: fixture.store.outbox,
        bus: { forward },
        clock: systemClock,
        batchSize: MOST,
        sweepMs: 50,
        backOffMs: 5,
      });
      relay.start();
      await eventually(
        () => held('waiting'),
        (count) => count === MOST,
        'all wait',
      );
      isDeclared = true;
      await eventually(
        () => held('published'),
        (count) => count === MOST,
        'all are marked',
      );
      // One of the channel is tried first, then all the others at once.
      expect(sizes).toEqual([1, MOST - 1]);
      // Another connection may see the marks before the relay has its answer.
      const current = relay;
      const counted = await eventually(
        async () => current.view(),
        ({ published }) => published > 0,
        'they are counted',
      );
      expect(counted).toMatchObject({ published: MOST, failures: 0 });
    });

    it('the largest batch of rows that waited for too long is parked in some statements, not in one for each', async () => {
      let passedMs = 0;
      const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + passedMs };
      const forward = async (): Promise<never[]> => {
        throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', 'it was never declared');
      };
      await fixture.store.inbox.transaction((tx) => fixture.store.append(tx, notesUpTo(MOST)));
      const texts: string[] = [];
      relay = createKeyedRelay({
        outbox: notedOutbox(fixture, texts),
        bus: { forward },
        clock,
        batchSize: MOST,
        sweepMs: 50,
        backOffMs: 5,
        undeclaredMs: 3_600_000,
      });
      relay.start();
      await eventually(
        () => held('waiting'),
        (count) => count === MOST,
        'all wait',
      );
      passedMs = 3_600_000;
      await eventually(
        () => held('parked'),
        (count) => count === MOST,
        'all are parked',
      );
      const parking = texts.filter((text) => text.includes(`SET state = 'parked'`));
      expect(parking.length).toBe(MOST / 500);
      expect(relay.view()).toMatchObject({ published: 0, failures: 0 });
    });

    it('rows that waited are parked with the reason of each', async () => {
      const reasons = ['too large', 'nobody knows it', 'too large', 'no\0 text'];
      await fixture.store.inbox.transaction((tx) => fixture.store.append(tx, notesUpTo(reasons.length)));
      const owned = await fixture.store.outbox.own();
      const rows = await eventually(
        async () => (await owned?.readFresh(MOST)) ?? [],
        ({ length }) => length === reasons.length,
        'the rows',
      );
      const heldRows = rows.map(({ number }, index) => ({
        number,
        lane: laneWithoutKey(number),
        reason: reasons[index] ?? '',
      }));
      const progress = { waiting: heldRows, parked: [], published: [], now: 1 };
      await owned?.record({ ...progress, upTo: rows.at(-1)?.number });
      await owned?.record({ ...progress, upTo: undefined, waiting: [], parked: heldRows, now: 2 });
      await owned?.release();
      const parked = await fixture.store.outbox.parked({ limit: 10 });
      expect(parked.map(({ reason, parkedAt }) => [reason, parkedAt])).toEqual([
        ['too large', 2],
        ['nobody knows it', 2],
        ['too large', 2],
        ['no text', 2],
      ]);
    });

    it('more parked rows than one statement takes are decided about', async () => {
      const numbers = Array.from({ length: 70_000 }, (_, index) => index + 1);
      expect(await fixture.store.outbox.retryParked(numbers, 0)).toBe(0);
    });
  });

describe('a relay', () => {
  const bus = { forward: async () => [] };
  it.each<[string, (batchSize: number) => unknown]>([
    [
      'with keys',
      (batchSize) => createKeyedRelay({ outbox: {} as never, bus, clock: systemClock, batchSize }),
    ],
    [
      'without',
      (batchSize) => createRelay({ source: {} as OutboxSource, bus, clock: systemClock, batchSize }),
    ],
  ])('%s takes no batch that its store could not mark', (_, relayOf) => {
    expect(() => relayOf(MOST)).not.toThrow();
    expect(() => relayOf(MOST + 1)).toThrow(
      expect.objectContaining({
        code: 'DB_MSG_INVALID_OPTIONS',
        message: expect.stringContaining('batchSize is a whole number from 1 to 10000'),
      }),
    );
  });
});
