/** Negative controls on the real broker: defects planted between the toolkit and this engine, each seen by the suite. */
import { afterAll, describe, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { plantedControls, type SeenBy } from '../../testing/planted-controls.ts';
import {
  createRabbitFixture,
  PARTITIONS,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
} from './conformance-fixture.ts';
import { confirmingAtOnce, type Method, withDefect } from './wire-defects.ts';

const LADDER = 'defects.';
/** A healthy engine needs a quarter of it for each of these cases, and on a machine with other work more than one that waits in vain is given. */
const PATIENCE_MS = 4_000;
const VAIN_MS = 2_500;

const seenBy: SeenBy = {
  'confirm before the commit': 'SIGKILL between confirms',
  'a retry is an ack': 'snooze comes back later',
  'a release is an ack': 'a graceful stop lets handlers finish',
  'dead letters are dropped': 'poison ends as a dead letter',
  'a dead letter is what the handler left': 'what a handler does to its copy',
  'what is malformed is dropped': 'a payload that is no CloudEvent and one that breaks',
  'the group of a dead letter is its raw text': 'dead letters are grouped by cause',
  'a discard does nothing': 'a discarded dead letter is gone',
  'a delay is ignored': 'a delayed message is not early',
  'a priority is ignored': 'higher priorities first',
  'an expiry is ignored': 'an expired message is dropped',
  'the key is lost': 'order per key: one message of a key',
  'one key stops all': 'a key that fails does not stop another',
  'a dead letter frees its key': 'blockKey holds the key',
  'followers go on': 'sequencedDlq parks the head',
  'skip holds the key': 'skip lets the others pass',
  'prefetch is not kept': 'never more unsettled deliveries',
  'bindings are ignored': ['direct routing: a subscription gets what', 'headers routing'],
  'every message comes twice': 'messages arrive once, oldest first',
  'a confirmation claims too much': 'a confirmation states the durability',
};

interface Sent {
  readonly headers?: Readonly<Record<string, unknown>>;
}

interface WireDefect {
  readonly method: string;
  readonly instead: (real: Method) => Method;
  /** Where one method alone does not make the mistake. */
  readonly also?: Readonly<Record<string, (real: Method) => Method>>;
  /** In the ladder, which is declared once and found by all who come later: so one of its own, removed behind the case. */
  readonly inLadder?: string;
  readonly seenBy: string;
}

/** The queue is declared with what this makes of its arguments. */
const withArguments =
  (change: (name: string, args: Readonly<Record<string, unknown>>) => object) =>
  (real: Method): Method =>
    function assertQueue(this: unknown, name: string, options: { readonly arguments?: object } = {}) {
      const { arguments: args = {} } = options;
      return Reflect.apply(real, this, [name, { ...options, arguments: change(name, { ...args }) }]);
    } as Method;

const RUNG = /delay\/(\d+)$/;
/** 20 ms: in the middle of the ways of 300 and of 100 ms, where no publisher is refused any more. */
const LOST_RUNG = 1;
const PARTITION = /conformance\.sequenced\/s\/\w+\/\d+$/;

/** Mistakes on the wire itself: what a method of amqplib's channels would do instead, and part of the name of the case that sees it. */
const wireDefects: Readonly<Record<string, WireDefect>> = {
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
    instead: confirmingAtOnce,
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
  'the rungs of the ladder wait half as long': {
    method: 'assertQueue',
    instead: withArguments((name, { 'x-message-ttl': ttl, ...others }) => {
      if (ttl === undefined) return others;
      return { ...others, 'x-message-ttl': RUNG.test(name) ? Number(ttl) / 2 : ttl };
    }),
    inLadder: 'short.',
    seenBy: 'a delayed message is not early',
  },
  'a rung of the ladder takes nothing': {
    method: 'bindQueue',
    instead: (real) =>
      function bindQueue(this: unknown, queue: string, ...others: readonly unknown[]) {
        if (RUNG.exec(queue)?.[1] === String(LOST_RUNG)) return Promise.resolve({});
        return Reflect.apply(real, this, [queue, ...others]);
      } as Method,
    inLadder: 'gap.',
    seenBy: 'a delayed message is not early',
  },
  'sends a key to one partition after the other': {
    method: 'sendMessage',
    instead: (real) => {
      let next = 0;
      return function sendMessage(
        this: unknown,
        fields: { readonly exchange: string },
        properties: object,
        content: Buffer,
      ) {
        if (!fields.exchange.endsWith('conformance.sequenced'))
          return Reflect.apply(real, this, [fields, properties, content]);
        next = (next + 1) % PARTITIONS;
        return Reflect.apply(real, this, [{ ...fields, routingKey: String(next) }, properties, content]);
      } as Method;
    },
    seenBy: 'order per key: one message of a key',
  },
  // The broker's guard alone would hide that nobody hears of the other; that they hear of each other, that the guard is off.
  'a partition is opened by two': {
    method: 'assertQueue',
    instead: withArguments((name, { 'x-single-active-consumer': single, ...others }) =>
      single === undefined || PARTITION.test(name)
        ? others
        : { ...others, 'x-single-active-consumer': single },
    ),
    also: {
      bindQueue: (real) =>
        function bindQueue(this: unknown, queue: string, exchange: string, ...others: readonly unknown[]) {
          if (exchange.endsWith('/hints')) return Promise.resolve({});
          return Reflect.apply(real, this, [queue, exchange, ...others]);
        } as Method,
    },
    seenBy: 'order per key holds against other consumers',
  },
  'nobody is asked who consumes': {
    method: 'checkQueue',
    instead: (real) =>
      async function checkQueue(this: unknown, queue: string) {
        const found = (await Reflect.apply(real, this, [queue])) as object;
        return { ...found, consumerCount: 0 };
      } as Method,
    seenBy: 'is not forgotten under its consumers',
  },
  'declares no priorities': {
    method: 'assertQueue',
    instead: withArguments((_, { 'x-max-priority': _levels, ...others }) => others),
    seenBy: 'higher priorities first',
  },
};

/** All of its mistakes at once, on a fixture of its own. */
async function runDefective(
  { method, instead, also = {}, inLadder }: WireDefect,
  run: (fixture: RabbitFixture) => Promise<void>,
): Promise<void> {
  const ladderPrefix = inLadder === undefined ? LADDER : LADDER + inLadder;
  const all = Object.entries({ ...also, [method]: instead });
  const planted = all.reduce<() => Promise<void>>(
    (inner, [name, one]) =>
      () =>
        withDefect(name, one, inner),
    () => onFixture(() => createRabbitFixture({ ladderPrefix }), run),
  );
  limitPatience(VAIN_MS);
  try {
    await planted();
  } finally {
    limitPatience(PATIENCE_MS);
    if (inLadder !== undefined) await removeLadder(ladderPrefix);
  }
}

limitPatience(PATIENCE_MS);

describe.skipIf(rabbitUrl === undefined)(
  'planted defects on RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    const create = () => createRabbitFixture({ ladderPrefix: LADDER });

    // Most of them wait in vain, which some can do at once. Those on the wire would be in the way of each other.
    registerControls(it.concurrent, 'rabbitmq', plantedControls(seenBy, create));

    registerControls(
      it,
      'rabbitmq',
      Object.entries(wireDefects).map(([defect, wire]) => {
        const { name, run } = caseNamed(conformanceCases, wire.seenBy);
        return {
          defect,
          caughtBy: name,
          healthy: () => onFixture(create, run),
          defective: () => runDefective(wire, run),
        };
      }),
    );
  },
);
