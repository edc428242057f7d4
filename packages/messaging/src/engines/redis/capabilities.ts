/** What the engine on streams can do: of the server only its version, what a write is worth and whether it tells of connections make a difference. */
import type { Capabilities } from '../../engine.ts';
import type { Probe } from '../../redis/probe.ts';

export function capabilitiesOf(
  { version, confirm }: Probe,
  seesConnections: boolean,
  maxMessageBytes: number,
): Capabilities {
  return {
    version: `Redis ${version}${seesConnections ? '' : ', its connections hidden: no CLIENT LIST'}`,
    confirm,
    orderPerKey: 'emulated',
    delay: { support: 'emulated', maxMs: 10 * 365 * 86_400_000, resolutionMs: 1 },
    priority: { support: 'emulated', levels: 10 },
    ttl: { support: 'emulated', granularity: 'message' },
    replay: 'native',
    routing: { direct: 'emulated', fanout: 'native', topic: 'emulated', headers: 'emulated' },
    broadcast: 'none',
    deadLetters: 'native',
    processes: 'many',
    maxMessageBytes,
  };
}
