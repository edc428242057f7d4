/** Clears away what a test left on a server that others use too. */
import type { RedisClient } from '../client.ts';

export async function deleteAll(client: Pick<RedisClient, 'send'>, prefix: string): Promise<void> {
  let cursor = '0';
  do {
    const [next, keys] = (await client.send(['SCAN', cursor, 'MATCH', `${prefix}:*`, 'COUNT', '1000'])) as [
      string,
      readonly string[],
    ];
    if (keys.length > 0) await client.send(['UNLINK', ...keys]);
    cursor = next;
  } while (cursor !== '0');
}
