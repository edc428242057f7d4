/** For negative controls: connections that are gone for good once they were lost, as where nobody connects again. */
import { type OpenClient, openClient } from '../client.ts';
import { type ConnectRedis, connectRedis } from '../server.ts';

/** For engines on streams and on lists. */
export const neverBack: OpenClient = async (options) => {
  const client = await openClient(options, () => client.end());
  // `another` of the real one would come back.
  return { ...client, another: () => neverBack(options, () => {}) };
};

/** For the broadcast engine. */
export const connectOnce: ConnectRedis = async (settings) => {
  const client = await connectRedis(settings, () => client.destroy());
  return client;
};
