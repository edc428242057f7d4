/** For negative controls: connections that are gone for good once they were lost, as where nobody connects again. */
import { type OpenClient, openClient } from '../client.ts';
import { type ConnectRedis, connectRedis } from '../server.ts';

/** For engines on streams and on lists. */
export const neverBack: OpenClient = async (options) => {
  const client = await openClient(options, () => client.end());
  // `another` of the real one would come back.
  const { answerTimeoutMs: ms } = options;
  return {
    ...client,
    another: (blockMs) => neverBack({ ...options, answerTimeoutMs: ms && ms + blockMs }, () => {}),
  };
};

/** For the broadcast engine. */
export const connectOnce: ConnectRedis = async (settings) => {
  const link = await connectRedis(settings, () => link.end());
  return link;
};
