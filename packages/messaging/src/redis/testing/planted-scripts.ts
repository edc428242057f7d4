/** Mistakes planted into scripts on their way to the server, for the tests that have to see them. */
import { type OpenClient, openClient } from '../client.ts';

/** The server keeps scripts by the digest of their true text, so a patched one is sent as text each time. */
export const planting =
  ({ from, to }: { readonly from: string; readonly to: string }): OpenClient =>
  async (options, onReady) => {
    const client = await openClient(options, onReady);
    return {
      ...client,
      async send(args) {
        const [command, text = ''] = args;
        if (command === 'SCRIPT') return 'OK';
        if (command === 'EVAL') return client.send([command, text.replace(from, () => to), ...args.slice(2)]);
        if (command === 'EVALSHA') throw new Error('NOSCRIPT: sent as text, with the defect');
        return client.send(args);
      },
    };
  };
