/**
 * Request ids: eight random characters of this process and a counter. Unique enough to find a request in the logs, and free of the cost of
 * fresh randomness for each; they are never used for order or as a secret.
 */
import type { Randomness } from '../randomness.ts';

export function requestIds(randomness: Randomness): () => string {
  const prefix = Buffer.from(randomness.bytes(6)).toString('base64url');
  let count = 0;
  return () => {
    count += 1;
    return `${prefix}-${count.toString(36)}`;
  };
}
