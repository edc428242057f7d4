/** What this engine can do: nearly all of it by itself, for there is no server to ask. Durability, sharing and the largest message are the writer's. */
import type { Capabilities } from '../../engine.ts';
import type { Writer } from './turn.ts';

export function capabilitiesOf(writer: Writer, maxMessageBytes: number): Capabilities {
  return {
    version: `SQLite ${process.versions.sqlite ?? ''}`.trim(),
    confirm: writer.durability,
    orderPerKey: 'native',
    delay: { support: 'native', maxMs: Number.MAX_SAFE_INTEGER, resolutionMs: 1 },
    priority: { support: 'native', levels: 10 },
    ttl: { support: 'native', granularity: 'message' },
    replay: 'native',
    routing: { direct: 'native', fanout: 'native', topic: 'native', headers: 'native' },
    broadcast: 'none',
    deadLetters: 'native',
    processes: writer.shared ? 'many' : 'one',
    maxMessageBytes: Math.min(maxMessageBytes, writer.shared?.maxMessageBytes ?? maxMessageBytes),
  };
}
