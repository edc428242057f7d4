/** For tests: what becomes of a consumer whose blocking connection leads nowhere any more, and nobody closed it. */
import assert from 'node:assert/strict';
import { createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import { Collector } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { ack } from '../../outcome.ts';
import { type OpenClient, openClient } from '../client.ts';
import { cutProxyTo } from './cut-proxy.ts';

/** For the engines of these cases: a read that blocks is missed when its own time and this are over. */
export const ANSWER_TIMEOUT_MS = 300;

/** With the defence off: what blocks is waited for as long as it takes, and commands are not. */
export const blockingForEver: OpenClient = async (options, onReady) => ({
  ...(await openClient(options, onReady)),
  another: () => openClient({ ...options, answerTimeoutMs: undefined }),
});

/** One message is lent to the connection that leads nowhere, and one waits behind it: both are handled, and what comes later too. */
export async function goesOnWithout(
  url: string,
  engineOn: (url: string) => Engine,
  blockingWord: string,
): Promise<void> {
  const proxy = await cutProxyTo(url);
  const bus = createBus({ engine: engineOn(proxy.url), source: '/test' });
  try {
    const got = new Collector<number>();
    bus.declare([plain]);
    bus.subscribe(plain, {
      name: 'one',
      handler: ({ data }) => {
        got.add(data.n);
        return ack();
      },
    });
    await bus.start();
    await bus.publish(plain, { n: 1 });
    await got.waitFor(1);
    await proxy.swallowAfter(blockingWord);
    for (const n of [2, 3]) await bus.publish(plain, { n });
    await got.waitFor(3, 'messages, two of them after the way was dead');
    await bus.publish(plain, { n: 4 });
    await got.waitFor(4);
    assert.deepEqual(
      got.values.toSorted((a, b) => a - b),
      [1, 2, 3, 4],
    );
  } finally {
    await bus.stop({ drainMs: 100 });
    await proxy.close();
  }
}
