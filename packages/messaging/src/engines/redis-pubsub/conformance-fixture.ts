/** Fixtures of the broadcast engine for the conformance suite: a prefix of its own each; nothing is kept, so nothing is cleared away. */
import { createClient } from 'redis';
import { systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import { createIds } from '../../ids.ts';
import { createRedisBroadcastEngine } from './engine.ts';

export function broadcastFixture(url: string): () => Promise<EngineFixture> {
  return async () => {
    const prefix = `broadcast-${createIds(systemClock).next()}`;
    const client = createClient({ url, RESP: 2 });
    await client.connect();
    return {
      open: () => createRedisBroadcastEngine({ url, prefix }),
      injectRaw: async (channel, payload) =>
        void (await client.sendCommand(['PUBLISH', `${prefix}:broadcast:${channel}`, payload])),
      destroy: async () => client.destroy(),
    };
  };
}
