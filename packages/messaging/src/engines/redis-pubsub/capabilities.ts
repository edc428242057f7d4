/** What Pub/Sub can do, which is the same on every server, and how the rest is refused. */
import type { Capabilities } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';

export function capabilitiesOf(version: string, maxMessageBytes: number): Capabilities {
  return {
    version: `Redis ${version} Pub/Sub`,
    confirm: 'none',
    orderPerKey: 'none',
    delay: { support: 'none', maxMs: 0, resolutionMs: 0 },
    priority: { support: 'none', levels: 1 },
    ttl: { support: 'none', granularity: 'message' },
    replay: 'none',
    routing: { direct: 'none', fanout: 'native', topic: 'none', headers: 'none' },
    broadcast: 'native',
    deadLetters: 'none',
    processes: 'many',
    maxMessageBytes,
  };
}

export function unsupported(what: string): MessagingError {
  return new MessagingError('DB_MSG_UNSUPPORTED_CAPABILITY', `Redis Pub/Sub cannot promise it: ${what}`);
}
