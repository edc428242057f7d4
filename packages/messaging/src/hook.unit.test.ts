/** `onNotice` of each engine that has one may fail: it is called in the events of sockets and in the middle of loops. RabbitMQ with its broker: `failing-notice.int.test.ts`. */
import { expect, it, onTestFinished, vi } from 'vitest';
import { settingsOf as settingsOfKafka } from './engines/kafka/options.ts';
import { settingsOf as settingsOfRabbit } from './engines/rabbitmq/options.ts';
import { settingsOf as settingsOfBroadcast } from './engines/redis-pubsub/options.ts';

/** What an engine calls for the hook that an application gave. */
type CallOf = (onNotice: () => unknown) => () => void;

const engines: readonly [string, CallOf][] = [
  [
    'the RabbitMQ engine',
    (onNotice) => {
      const settings = settingsOfRabbit({ url: 'amqp://localhost', onNotice });
      return () => settings.onNotice({ kind: 'unblocked' });
    },
  ],
  [
    'the Kafka engine',
    (onNotice) => {
      const settings = settingsOfKafka({ url: 'kafka://localhost', onNotice });
      return () => settings.onNotice({ kind: 'declared', topic: 't' });
    },
  ],
  [
    'the broadcast engine',
    (onNotice) => {
      const settings = settingsOfBroadcast({ url: 'redis://localhost', onNotice });
      return () => settings.onNotice({ kind: 'lost', channel: 'c', subscription: 's', reasons: ['r'] });
    },
  ],
];

it.each(engines)(
  'an onNotice of %s that throws or rejects is passed over, and that is said once',
  async (name, callOf) => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const unhandled: unknown[] = [];
    const keep = (error: unknown): void => void unhandled.push(error);
    process.prependListener('unhandledRejection', keep);
    onTestFinished(() => {
      warned.mockRestore();
      process.off('unhandledRejection', keep);
    });
    let calls = 0;
    const call = callOf(() => {
      calls += 1;
      throw new Error('a broken notice');
    });
    call();
    call();
    callOf(async () => {
      calls += 1;
      throw new Error('a broken notice');
    })();
    await new Promise((resolve) => setImmediate(resolve));
    expect([calls, unhandled]).toEqual([3, []]);
    const told = [expect.stringContaining(`onNotice of ${name} failed`), { type: 'DoorbusterWarning' }];
    expect(warned.mock.calls).toEqual([told, told]);
  },
);
