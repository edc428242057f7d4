/** The engine on lists: what is peculiar to it, on the server that REDIS_URL names; the cases are in lists-cases.ts. */
import { describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import type { Channel } from '../../channel.ts';
import { blocking, delayed, direct, kept, plain, ranked, sequenced } from '../../conformance/channels.ts';
import { listsFixture } from './conformance-fixture.ts';
import { endsWhatComesTooLate, LateConnections } from '../../redis/testing/late-connection.ts';
import { createRedisListsEngine } from './engine.ts';
import { listsCases, wrappingCase } from './lists-cases.ts';

const url = process.env['REDIS_URL'];

describe.skipIf(!url)('Redis lists (set REDIS_URL to run it)', { timeout: 60_000 }, () => {
  it.each(listsCases)('$name', async ({ run }) => {
    const fixture = await listsFixture(url ?? '')();
    try {
      await expect(run(fixture)).resolves.toBeUndefined();
    } finally {
      await fixture.destroy();
    }
  });

  it.each([wrappingCase])('$name', async ({ run }) => {
    const fixture = await listsFixture(url ?? '', { foreign: 'wrap' })();
    try {
      await expect(run(fixture)).resolves.toBeUndefined();
    } finally {
      await fixture.destroy();
    }
  });

  it('ends the connection of a consumer that comes when the engine has been closed', async () => {
    const connections = new LateConnections();
    const fixture = await listsFixture(url ?? '', {}, connections.openClient)();
    try {
      await expect(endsWhatComesTooLate(fixture.open(), connections)).resolves.toBeUndefined();
    } finally {
      await fixture.destroy();
    }
  });

  it('takes the lists that a team has, by their keys', async () => {
    const fixture = await listsFixture(url ?? '')();
    const list = `${fixture.prefix}:orders`;
    const engine = createRedisListsEngine({
      url: url ?? '',
      prefix: fixture.prefix,
      lists: { [plain.name]: list },
    });
    const bus = createBus({ engine, source: '/lists' });
    bus.declare([plain]);
    await bus.start();
    await bus.publish(plain, { n: 1 });
    expect(await fixture.raw('LLEN', list)).toBe(1);
    await bus.stop();
    await fixture.destroy();
  });

  it.each([sequenced, blocking, delayed, ranked, kept, direct])(
    'refuses the start with a channel that requires more: $name',
    async (channel) => {
      const bus = createBus({ engine: createRedisListsEngine({ url: url ?? '' }), source: '/lists' });
      bus.declare([channel as Channel]);
      await expect(bus.start()).rejects.toMatchObject({
        code: 'DB_MSG_UNSUPPORTED_CAPABILITY',
        engine: 'redis-lists',
      });
    },
  );
});
