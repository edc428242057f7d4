/** Negative controls on the real broker: defects planted between the toolkit and this engine, each seen by the suite. */
import { afterAll, describe, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { plant, type PlantedDefect } from '../../conformance/planted-defects.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { createRabbitFixture, rabbitUrl, removeLadder } from './conformance-fixture.ts';
import { type Method, withDefect } from './wire-defects.ts';

const LADDER = 'defects.';

/** Part of the name of the case that sees the defect. */
const seenBy: Readonly<Partial<Record<PlantedDefect, string>>> = {
  'a retry is an ack': 'snooze comes back later',
  'a release is an ack': 'a graceful stop lets handlers finish',
  'dead letters are dropped': 'poison ends as a dead letter',
  'a delay is ignored': 'a delayed message is not early',
  'the key is lost': 'order per key: one message of a key',
  'every message comes twice': 'messages arrive once, oldest first',
  'a confirmation claims too much': 'a confirmation states the durability',
};

interface Sent {
  readonly headers?: Readonly<Record<string, unknown>>;
}

/** Mistakes on the wire itself: what a method of amqplib's channels would do instead, and part of the name of the case that sees it. */
const wireDefects: Readonly<
  Record<
    string,
    { readonly method: string; readonly instead: (real: Method) => Method; readonly seenBy: string }
  >
> = {
  'publishes without mandatory': {
    method: 'sendMessage',
    instead: (real) =>
      function sendMessage(this: unknown, fields: object, properties: object, content: Buffer) {
        return Reflect.apply(real, this, [{ ...fields, mandatory: false }, properties, content]);
      } as Method,
    seenBy: 'a message that no binding takes is refused',
  },
  'does not wait for the confirm': {
    method: 'pushConfirmCallback',
    instead: (real) =>
      function pushConfirmCallback(this: unknown, done: () => void) {
        queueMicrotask(done);
        return Reflect.apply(real, this, [() => {}]);
      } as Method,
    seenBy: 'a message that no binding takes is refused',
  },
  'leaves old bindings in place': {
    method: 'unbindQueue',
    instead: () => async function unbindQueue() {} as Method,
    seenBy: 'bindings that are given again replace the former ones',
  },
  'gives back without asking for it again': {
    method: 'nack',
    instead: (real) =>
      function nack(this: unknown, message: unknown) {
        return Reflect.apply(real, this, [message, false, false]);
      } as Method,
    seenBy: 'a lost lease is handed out again',
  },
  'never acknowledges': {
    method: 'ack',
    instead: () => function ack() {} as Method,
    seenBy: 'a graceful stop lets handlers finish',
  },
  'binds queues by every key': {
    method: 'bindQueue',
    instead: (real) =>
      function bindQueue(this: unknown, queue: string, exchange: string, key: string, args: object) {
        const all = exchange.endsWith('conformance.topic') ? '#' : key;
        return Reflect.apply(real, this, [queue, exchange, all, args]);
      } as Method,
    seenBy: 'topic routing',
  },
  'takes what was sent back last for what was redriven most often': {
    method: 'sendMessage',
    instead: (real) => {
      let turn = 100;
      return function sendMessage(this: unknown, fields: object, properties: Sent, content: Buffer) {
        const { headers = {} } = properties;
        if (headers['x-db-redrive'] === undefined)
          return Reflect.apply(real, this, [fields, properties, content]);
        turn += 1;
        const changed = { ...properties, headers: { ...headers, 'x-db-turn': turn } };
        return Reflect.apply(real, this, [fields, changed, content]);
      } as Method;
    },
    seenBy: 'order per key stays right while somebody redrives',
  },
};

// A healthy engine needs a quarter of it for each of these cases.
limitPatience(4_000);

describe.skipIf(rabbitUrl === undefined)(
  'planted defects on RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    const create = () => createRabbitFixture({ ladderPrefix: LADDER });

    registerControls(
      it,
      'rabbitmq',
      (Object.keys(seenBy) as PlantedDefect[]).map((defect) => {
        const { name, run } = caseNamed(conformanceCases, seenBy[defect] ?? 'nothing');
        return {
          defect,
          caughtBy: name,
          healthy: () => onFixture(create, run),
          defective: () =>
            onFixture(create, (fixture) => run({ ...fixture, open: () => plant(defect, fixture.open()) })),
        };
      }),
    );

    registerControls(
      it,
      'rabbitmq',
      Object.entries(wireDefects).map(([defect, { method, instead, seenBy: part }]) => {
        const { name, run } = caseNamed(conformanceCases, part);
        return {
          defect,
          caughtBy: name,
          healthy: () => onFixture(create, run),
          defective: () => onFixture(create, (fixture) => withDefect(method, instead, () => run(fixture))),
        };
      }),
    );
  },
);
