/** Something between an engine and its server, on every connection that it makes. */
import type { OpenClient, RedisClient } from '../client.ts';

export type Wrap = (client: RedisClient) => RedisClient;

export const openingBehind =
  (open: OpenClient, wrap: Wrap): OpenClient =>
  async (settings, onReady) =>
    behind(await open(settings, onReady), wrap);

/** Also the further connections that are made of it. */
function behind(client: RedisClient, wrap: Wrap): RedisClient {
  return { ...wrap(client), another: async (blockMs) => behind(await client.another(blockMs), wrap) };
}
