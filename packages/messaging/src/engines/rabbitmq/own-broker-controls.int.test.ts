/**
 * An alarm and an operator who closes all connections, both under load on a broker of the test's own: nothing is lost, nothing takes effect twice behind an inbox, and all is back. And
 * classic queues, which keep over a restart only what was published as persistent (quorum queues store whatever comes, so none of their cases can see it). Each with a defence off, so
 * that the same case has to fail.
 */
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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
import { hasRabbitProgram, type OwnBroker, restart, startOwnBroker } from './own-broker.ts';
import { type Method, withDefect } from './wire-defects.ts';
import { stallingClock } from '../../testing/stalling-clock.ts';

const KEYS = ['a', 'b', 'c', 'd'];
const ROUNDS = 40;
const ALL = ROUNDS * (KEYS.length + 1);
/** Handlers that are held until the connection is gone: what they have done by then comes again. */
const HELD = 6;

interface Defences {
  readonly hasInbox?: boolean;
  readonly comesBack?: boolean;
}

/** What was handled, and what of it took effect: everything once with an inbox, everything as often as it came without. */
class Effects {
  readonly handled: string[] = [];
  readonly done: string[] = [];
  readonly #inbox = new DatabaseSync(':memory:');
  readonly #hasInbox: boolean;

  constructor(hasInbox: boolean) {
    this.#hasInbox = hasInbox;
    this.#inbox.exec(inboxSchema);
  }

  handle(messageId: string): void {
    this.handled.push(messageId);
    this.#inbox.exec('BEGIN IMMEDIATE');
    const entry = { subscription: 'one', messageId, now: systemClock.now() };
    const isRepeat = alreadyHandled(this.#inbox, entry);
    if (!isRepeat || !this.#hasInbox) this.done.push(messageId);
    this.#inbox.exec('COMMIT');
  }

  async complete(): Promise<void> {
    await eventually(
      async () => new Set(this.done).size,
      (size) => size === ALL,
      'every message handled',
    );
    assert.equal(this.done.length, ALL, 'some took effect twice');
  }
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

// The healthy runs take some seconds, of which starting `rabbitmqctl` is most.
limitPatience(12_000);

describe.skipIf(!hasRabbitProgram())(
  'a RabbitMQ of its own, with a defence off (needs rabbitmq-server on this machine)',
  { timeout: 240_000 },
  () => {
    let broker: OwnBroker;
    let url = '';
    beforeAll(async () => {
      broker = await startOwnBroker({ cluster: false });
      url = broker.urls[0] ?? '';
    }, 120_000);
    afterAll(() => broker?.destroy(), 60_000);

    async function closedByOperator({ hasInbox = true, comesBack = true }: Defences): Promise<void> {
      const { clock, stall, letGo } = stallingClock();
      const effects = new Effects(hasInbox);
      const cut = signal();
      const begun = new Collector<string>();
      const handler = async ({ id }: { readonly id: string }) => {
        begun.add(id);
        if (begun.values.length <= HELD) await cut.fired;
        effects.handle(id);
        return ack();
      };
      const onNotice = (notice: RabbitNotice): void => {
        if (notice.kind === 'disconnected' && notice.connection === 'consume') cut.fire();
      };
      const open = async (fixture: RabbitFixture): Promise<Bus> => {
        const bus = createBus({ engine: fixture.engine({ url, onNotice }), source: '/operator', clock });
        bus.declare([orders, inOrder]);
        await bus.start();
        await bus.subscribe(orders, { name: 'one', concurrency: 8, handler }).started;
        await bus.subscribe(inOrder, { name: 'one', concurrency: 8, handler }).started;
        return bus;
      };
      await withFixture({ url }, async (fixture) => {
        const buses = [await open(fixture), await open(fixture)] as const;
        try {
          const publishing = publishAll(buses[0]);
          publishing.catch(() => {});
          await begun.waitFor(HELD);
          if (!comesBack) stall();
          await broker.ctl('close_all_connections', 'a test of the operator');
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
          cut.fire();
          letGo();
          await Promise.all(buses.map((bus) => bus.stop({ drainMs: 1_000 })));
        }
      });
    }

    async function alarmed(): Promise<void> {
      const effects = new Effects(true);
      const notices = new Collector<string>();
      const refused = new Collector<unknown>();
      await withFixture({ url }, async (fixture) => {
        const engine = fixture.engine({ url, onNotice: ({ kind }) => notices.add(kind) });
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
          await broker.ctl('set_vm_memory_high_watermark', 'absolute', '1');
          const publishing = publishAll(bus, (error) => refused.add(error));
          publishing.catch(() => {});
          await refused.waitFor(3, 'refusals');
          for (const error of refused.values)
            expect(error).toMatchObject({ code: 'DB_MSG_ENGINE_BLOCKED', retryable: true });
          expect(notices.values).toContain('blocked');
          await broker.ctl('set_vm_memory_high_watermark', '0.6');
          await publishing;
          await effects.complete();
          expect(notices.values).toContain('unblocked');
        } finally {
          await broker.ctl('set_vm_memory_high_watermark', '0.6');
          await bus.stop({ drainMs: 1_000 });
        }
      });
    }

    /** With priorities and without: whoever sets a priority writes the properties anew. */
    async function restartedOnClassic(): Promise<void> {
      const isTaken = { name: 'one', handler: () => ack() };
      await withFixture({ url }, async (fixture) => {
        const classic = () => fixture.engine({ url, queueType: 'classic' });
        const confirmed: string[] = [];
        await withBus(classic(), [orders, ranked], async (bus) => {
          await settleIn(bus.subscribe(orders, isTaken));
          await settleIn(bus.subscribe(ranked, isTaken));
          for (let n = 0; n < ROUNDS; n += 1)
            for (const { id, durability } of [
              await bus.publish(orders, { n }),
              await bus.publish(ranked, { n }, { priority: n % 3 }),
            ]) {
              assert.equal(durability, 'disk');
              confirmed.push(id);
            }
        });
        await restart(broker);
        const found = new Set<string>();
        const handler = ({ id }: { readonly id: string }) => {
          found.add(id);
          return ack();
        };
        await withBus(classic(), [orders, ranked], async (bus) => {
          await bus.subscribe(orders, { name: 'one', handler }).started;
          await bus.subscribe(ranked, { name: 'one', handler }).started;
          await eventually(
            async () => confirmed.filter((id) => !found.has(id)).length,
            (missing) => missing === 0,
            'everything that was confirmed on a classic queue',
          );
        });
      });
    }

    const classic =
      'a server with classic queues is killed and started again: all that it confirmed is there';
    const operator =
      'the operator closes all connections under load: nothing lost, nothing done twice, and all is back';
    const alarm = 'an alarm under load: refused at once and told, and the same ids are taken when it is over';
    registerControls(it, 'rabbitmq', [
      {
        defect: 'no inbox',
        caughtBy: operator,
        healthy: () => closedByOperator({}),
        defective: () => closedByOperator({ hasInbox: false }),
      },
      {
        defect: 'never tries again',
        caughtBy: operator,
        healthy: () => closedByOperator({}),
        defective: () => closedByOperator({ comesBack: false }),
      },
      {
        defect: 'does not hear of an alarm',
        caughtBy: alarm,
        healthy: alarmed,
        defective: () => deaf(url, alarmed),
      },
      {
        defect: 'messages are not persistent',
        caughtBy: classic,
        healthy: restartedOnClassic,
        defective: () =>
          withDefect(
            'sendMessage',
            asTransient(({ priority }) => priority === undefined),
            restartedOnClassic,
            url,
          ),
      },
      {
        defect: 'messages with a priority are not persistent',
        caughtBy: classic,
        healthy: restartedOnClassic,
        defective: () =>
          withDefect(
            'sendMessage',
            asTransient(({ priority }) => priority !== undefined),
            restartedOnClassic,
            url,
          ),
      },
    ]);

    it('in an alarm a connection that has published stands still, and one that only consumes goes on (control on the bare broker)', () =>
      onBroker(async (publisher) => {
        await publisher.assertQueue('alarm', { durable: true });
        await broker.ctl('set_vm_memory_high_watermark', 'absolute', '1');
        let isAnswered = false;
        publisher.publish('', 'alarm', Buffer.from('1'));
        const answer = publisher.checkQueue('alarm').then(() => {
          isAnswered = true;
        });
        try {
          await onBroker(async (consumer) => {
            for (let question = 0; question < 200; question += 1) await consumer.checkQueue('alarm');
          }, url);
          expect(isAnswered).toBe(false);
        } finally {
          await broker.ctl('set_vm_memory_high_watermark', '0.6');
        }
        await answer;
      }, url));
  },
);
