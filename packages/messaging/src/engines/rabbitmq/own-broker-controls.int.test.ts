/**
 * An alarm and an operator who closes all connections, both under load on a broker of the test's own: nothing is lost, nothing takes effect twice behind an inbox, and all is back. And
 * classic queues, which keep over a restart only what was published as persistent (quorum queues store whatever comes, so none of their cases can see it). Each with a defence off, so
 * that the same case has to fail. Where a defence changes only what is made of what came, or where one death of the broker can be felt by several at once, cases share a run.
 */
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { connect } from 'amqplib';
import { expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { registerControls } from '../../conformance/controls.ts';
import { ranked } from '../../conformance/channels.ts';
import { Collector, eventually, limitPatience, settleIn, signal } from '../../conformance/fixture.ts';
import { alreadyHandled, inboxSchema } from '../../inbox.ts';
import { ack } from '../../outcome.ts';
import {
  inOrder,
  onBroker,
  orders,
  type RabbitFixture,
  withBus,
  withFixture,
} from './conformance-fixture.ts';
import type { RabbitNotice } from './options.ts';
import { closeAllConnections, restart, setAlarm } from './own-broker.ts';
import { describeOnOwnBroker } from './testing/on-own-broker.ts';
import { once } from './testing/once.ts';
import { type Method, withDefect } from './wire-defects.ts';
import { stallingClock } from '../../testing/stalling-clock.ts';

const KEYS = ['a', 'b', 'c', 'd'];
const ROUNDS = 40;
const ALL = ROUNDS * (KEYS.length + 1);
/** Handlers that are held until the connection is gone: what they have done by then comes again. */
const HELD = 6;

/** What was handled, which is what would take effect without an inbox, and what did take effect behind one. */
class Effects {
  readonly handled: string[] = [];
  readonly done: string[] = [];
  readonly #inbox = new DatabaseSync(':memory:');

  constructor() {
    this.#inbox.exec(inboxSchema);
  }

  handle(messageId: string): void {
    this.handled.push(messageId);
    this.#inbox.exec('BEGIN IMMEDIATE');
    const entry = { subscription: 'one', messageId, now: systemClock.now() };
    const isRepeat = alreadyHandled(this.#inbox, entry);
    if (!isRepeat) this.done.push(messageId);
    this.#inbox.exec('COMMIT');
  }

  async complete(): Promise<void> {
    await eventually(
      async () => new Set(this.done).size,
      (size) => size === ALL,
      'every message handled',
    );
  }
}

function assertOnce(effects: readonly string[]): void {
  assert.equal(effects.length, ALL, 'some took effect twice');
}

/** Again with the same id until it is confirmed, as a relay does; what was refused is told. */
async function publishSurely(
  publish: () => Promise<unknown>,
  onRefused: (error: unknown) => void,
): Promise<void> {
  await eventually(
    () =>
      publish().then(
        () => true,
        (error: unknown) => {
          onRefused(error);
          if ((error as { retryable?: boolean }).retryable !== true) throw error;
          return false;
        },
      ),
    (isConfirmed) => isConfirmed,
    'a confirm',
  );
}

/** One message of each key and one without, round after round. */
async function publishAll(bus: Bus, onRefused: (error: unknown) => void = () => {}): Promise<void> {
  for (let n = 0; n < ROUNDS; n += 1) {
    await publishSurely(() => bus.publish(orders, { n }, { id: `orders ${n}` }), onRefused);
    for (const key of KEYS)
      await publishSurely(() => bus.publish(inOrder, { n }, { key, id: `${key} ${n}` }), onRefused);
  }
}

/** Who never hears `connection.blocked`. */
async function deaf(url: string, run: () => Promise<void>): Promise<void> {
  const model = await connect(url);
  const prototype = Object.getPrototypeOf(model) as { on?: unknown };
  await model.close();
  const listen = model.on as (this: unknown, name: string, listener: () => void) => unknown;
  prototype.on = function on(this: unknown, name: string, listener: () => void) {
    return name === 'blocked' ? this : Reflect.apply(listen, this, [name, listener]);
  };
  try {
    await run();
  } finally {
    delete prototype.on;
  }
}

interface Properties {
  readonly priority?: number | undefined;
}

/** Some are sent as transient, which a broker confirms too, and forgets when it goes down. */
const asTransient =
  (isMeant: (properties: Properties) => boolean) =>
  (real: Method): Method =>
    function sendMessage(this: unknown, fields: object, properties: Properties, content: Buffer) {
      const changed = isMeant(properties) ? { ...properties, deliveryMode: 1 } : properties;
      return Reflect.apply(real, this, [fields, changed, content]);
    } as Method;

// The healthy runs take a second or two, and on a machine with other work more than one that waits in vain is given.
const PATIENCE_MS = 8_000;
const VAIN_MS = 2_500;
limitPatience(PATIENCE_MS);

describeOnOwnBroker('a RabbitMQ of its own, with a defence off', (own) => {
  async function closedByOperator({ comesBack = true } = {}): Promise<Effects> {
    const { clock, stall, letGo } = stallingClock();
    const effects = new Effects();
    const cuts = [signal(), signal()] as const;
    // A healthy engine takes a second, and on a machine with other work more than one that waits in vain is given.
    limitPatience(comesBack ? 4 * PATIENCE_MS : PATIENCE_MS);
    const begun = new Collector<string>();
    // Each process by its own connection: they are closed one after the other, and one that still has its own would settle what it held, which then does not come again.
    const open = async (fixture: RabbitFixture, cut: (typeof cuts)[number]): Promise<Bus> => {
      const handler = async ({ id }: { readonly id: string }) => {
        begun.add(id);
        if (begun.values.length <= HELD) await cut.fired;
        effects.handle(id);
        return ack();
      };
      const onNotice = (notice: RabbitNotice): void => {
        if (notice.kind === 'disconnected' && notice.connection === 'consume') cut.fire();
      };
      const bus = createBus({
        engine: fixture.engine({ url: own.url, onNotice }),
        source: '/operator',
        clock,
      });
      bus.declare([orders, inOrder]);
      await bus.start();
      await bus.subscribe(orders, { name: 'one', concurrency: 8, handler }).started;
      await bus.subscribe(inOrder, { name: 'one', concurrency: 8, handler }).started;
      return bus;
    };
    await withFixture({ url: own.url }, async (fixture) => {
      const buses = [await open(fixture, cuts[0]), await open(fixture, cuts[1])] as const;
      try {
        const publishing = publishAll(buses[0]);
        publishing.catch(() => {});
        await begun.waitFor(HELD);
        if (!comesBack) {
          stall();
          limitPatience(VAIN_MS);
        }
        await closeAllConnections(own.broker);
        await publishing;
        await effects.complete();
        // Some came again: those that were held.
        expect(effects.handled.length).toBeGreaterThan(ALL);
        // Two processes on the keyed subscription: they found each other again, by queues that went with their connections.
        await eventually(
          async () =>
            (await buses[1].view()).channels.map(({ subscriptions }) => subscriptions[0]?.consumers),
          (consumers) => consumers.every((count) => count === 2),
          'both consumers of each subscription',
        );
      } finally {
        for (const cut of cuts) cut.fire();
        letGo();
        limitPatience(PATIENCE_MS);
        await Promise.all(buses.map((bus) => bus.stop({ drainMs: 1_000 })));
      }
    });
    return effects;
  }
  const closedOnce = once(() => closedByOperator());

  async function alarmed({ isHeard = true } = {}): Promise<void> {
    const effects = new Effects();
    const notices = new Collector<string>();
    const refused = new Collector<unknown>();
    await withFixture({ url: own.url }, async (fixture) => {
      const engine = fixture.engine({ url: own.url, onNotice: ({ kind }) => notices.add(kind) });
      const bus = createBus({ engine, source: '/alarm' });
      bus.declare([orders, inOrder]);
      await bus.start();
      const handler = ({ id }: { readonly id: string }) => {
        effects.handle(id);
        return ack();
      };
      await bus.subscribe(orders, { name: 'one', concurrency: 8, handler }).started;
      await bus.subscribe(inOrder, { name: 'one', concurrency: 8, handler }).started;
      try {
        await setAlarm(own.broker, true);
        if (!isHeard) limitPatience(VAIN_MS);
        const publishing = publishAll(bus, (error) => refused.add(error));
        publishing.catch(() => {});
        await refused.waitFor(3, 'refusals');
        for (const error of refused.values)
          expect(error).toMatchObject({ code: 'DB_MSG_ENGINE_BLOCKED', retryable: true });
        expect(notices.values).toContain('blocked');
        await setAlarm(own.broker, false);
        await publishing;
        await effects.complete();
        assertOnce(effects.done);
        expect(notices.values).toContain('unblocked');
      } finally {
        limitPatience(PATIENCE_MS);
        await setAlarm(own.broker, false);
        await bus.stop({ drainMs: 1_000 });
      }
    });
  }

  /** With priorities and without: whoever sets a priority writes the properties anew. */
  async function publishOnClassic(fixture: RabbitFixture): Promise<ReadonlySet<string>> {
    const confirmed = new Set<string>();
    const isTaken = { name: 'one', handler: () => ack() };
    await withBus(fixture.engine({ url: own.url, queueType: 'classic' }), [orders, ranked], async (bus) => {
      await settleIn(bus.subscribe(orders, isTaken));
      await settleIn(bus.subscribe(ranked, isTaken));
      for (let n = 0; n < ROUNDS; n += 1)
        for (const { id, durability } of [
          await bus.publish(orders, { n }),
          await bus.publish(ranked, { n }, { priority: n % 3 }),
        ]) {
          assert.equal(durability, 'disk');
          confirmed.add(id);
        }
    });
    return confirmed;
  }

  /** All that is there: what is published last, without a priority, is handled last. */
  async function foundOnClassic(fixture: RabbitFixture): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    const handler = ({ id }: { readonly id: string }) => {
      found.add(id);
      return ack();
    };
    await withBus(fixture.engine({ url: own.url, queueType: 'classic' }), [orders, ranked], async (bus) => {
      const lasts = [await bus.publish(orders, { n: ROUNDS }), await bus.publish(ranked, { n: ROUNDS })];
      await bus.subscribe(orders, { name: 'one', handler }).started;
      await bus.subscribe(ranked, { name: 'one', handler }).started;
      await eventually(
        async () => lasts.every(({ id }) => found.has(id)),
        (isThere) => isThere,
        'the last of each channel',
      );
    });
    return found;
  }

  /** How many confirmed messages of each kind of publisher are gone when the broker was killed and has started again. */
  const lostOnClassic = once(async () => {
    const lost: number[] = [];
    await withFixture({ url: own.url }, (asItIs) =>
      withFixture({ url: own.url }, (withoutPriority) =>
        withFixture({ url: own.url }, async (withPriority) => {
          const fixtures = [asItIs, withoutPriority, withPriority];
          const published: ReadonlySet<string>[] = [];
          for (const [index, fixture] of fixtures.entries())
            await withDefect(
              'sendMessage',
              asTransient(({ priority }) => index > 0 && (priority === undefined) === (index === 1)),
              async () => void published.push(await publishOnClassic(fixture)),
              own.url,
            );
          await restart(own.broker);
          for (const [index, fixture] of fixtures.entries())
            lost.push(published[index]?.difference(await foundOnClassic(fixture)).size ?? ROUNDS);
        }),
      ),
    );
    return { asItIs: lost[0], withoutPriority: lost[1], withPriority: lost[2] };
  });
  const assertKept = async (publisher: keyof Awaited<ReturnType<typeof lostOnClassic>>): Promise<void> =>
    assert.equal((await lostOnClassic())[publisher], 0, 'confirmed messages on classic queues are gone');

  const classic = 'a server with classic queues is killed and started again: all that it confirmed is there';
  const operator =
    'the operator closes all connections under load: nothing lost, nothing done twice, and all is back';
  const alarm = 'an alarm under load: refused at once and told, and the same ids are taken when it is over';
  registerControls(it, 'rabbitmq', [
    {
      defect: 'no inbox',
      caughtBy: operator,
      healthy: async () => assertOnce((await closedOnce()).done),
      defective: async () => assertOnce((await closedOnce()).handled),
    },
    {
      defect: 'never tries again',
      caughtBy: operator,
      healthy: async () => assertOnce((await closedOnce()).done),
      defective: () => closedByOperator({ comesBack: false }),
    },
    {
      defect: 'does not hear of an alarm',
      caughtBy: alarm,
      healthy: () => alarmed(),
      defective: () => deaf(own.url, () => alarmed({ isHeard: false })),
    },
    {
      defect: 'messages are not persistent',
      caughtBy: classic,
      healthy: () => assertKept('asItIs'),
      defective: () => assertKept('withoutPriority'),
    },
    {
      defect: 'messages with a priority are not persistent',
      caughtBy: classic,
      healthy: () => assertKept('asItIs'),
      defective: () => assertKept('withPriority'),
    },
  ]);

  it('in an alarm a connection that has published stands still, and one that only consumes goes on (control on the bare broker)', async () => {
    const model = await connect(own.url);
    let isBlocked = false;
    model.on('blocked', () => {
      isBlocked = true;
    });
    const publisher = await model.createChannel();
    await publisher.assertQueue('alarm', { durable: true });
    await setAlarm(own.broker, true);
    let isAnswered = false;
    let answer: Promise<void> | undefined;
    try {
      // The alarm is told to each connection by itself, and later than the operator has his answer.
      await eventually(
        async () => {
          publisher.publish('', 'alarm', Buffer.from('1'));
          return isBlocked;
        },
        (blocked) => blocked,
        'a publishing connection blocked',
      );
      answer = publisher.checkQueue('alarm').then(() => {
        isAnswered = true;
      });
      await onBroker(async (consumer) => {
        for (let question = 0; question < 200; question += 1) await consumer.checkQueue('alarm');
      }, own.url);
      expect(isAnswered).toBe(false);
    } finally {
      await setAlarm(own.broker, false);
    }
    await answer;
    await model.close();
  });
});
