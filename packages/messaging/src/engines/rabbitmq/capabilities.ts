/** What this broker can do, from its version. Said for 3.10, where it was tried; what only newer brokers can is not used and not claimed. */
import type { ChannelModel } from 'amqplib';
import type { Capabilities } from '../../engine.ts';
import type { Ladder } from './delay-ladder.ts';
import { nameOf } from './version.ts';

/** A classic queue takes up to 255 levels; each costs memory and the toolkit offers ten. */
const PRIORITY_LEVELS = 10;

export function capabilitiesOf(
  model: ChannelModel,
  { maxMessageBytes, ladder }: { readonly maxMessageBytes: number; readonly ladder: Ladder },
): Capabilities {
  return {
    version: nameOf(model.connection.serverProperties),
    // A quorum queue confirms after a majority has synced. How many nodes that are is not visible over AMQP, so not more than this is claimed. Places of others may give less (`standing`).
    confirm: 'disk',
    orderPerKey: 'emulated',
    delay: { support: 'emulated', maxMs: ladder.maxMs, resolutionMs: ladder.resolutionMs },
    priority: { support: 'native', levels: PRIORITY_LEVELS },
    ttl: { support: 'emulated', granularity: 'message' },
    replay: 'none',
    routing: { direct: 'native', fanout: 'native', topic: 'native', headers: 'native' },
    broadcast: 'none',
    deadLetters: 'native',
    processes: 'many',
    maxMessageBytes,
  };
}
