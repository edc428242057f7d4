/** What the engine on lists can do, and how it refuses the rest: the bus asks the capabilities first; who uses the engine alone is refused by it. */
import type { Capabilities, ChannelSpec } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { Probe } from '../../redis/probe.ts';

export function capabilitiesOf({ version, confirm }: Probe, maxMessageBytes: number): Capabilities {
  return {
    version: `Redis ${version} lists`,
    confirm,
    orderPerKey: 'none',
    delay: { support: 'none', maxMs: 0, resolutionMs: 0 },
    priority: { support: 'none', levels: 1 },
    ttl: { support: 'emulated', granularity: 'message' },
    replay: 'none',
    routing: { direct: 'none', fanout: 'none', topic: 'none', headers: 'none' },
    broadcast: 'none',
    deadLetters: 'native',
    processes: 'many',
    maxMessageBytes,
  };
}

export function refuseUnsupported({ name, order, priorityLevels, routing, keepMs }: ChannelSpec): void {
  if (order === 'key') throw unsupported(`channel "${name}": order per key`);
  if (priorityLevels > 1) throw unsupported(`channel "${name}": priorities`);
  if (routing !== 'fanout') throw unsupported(`channel "${name}": routing`);
  if (keepMs !== undefined) throw unsupported(`channel "${name}": replay`);
}

export function unsupported(what: string): MessagingError {
  return new MessagingError('DB_MSG_UNSUPPORTED_CAPABILITY', `Redis lists cannot do it: ${what}`);
}
