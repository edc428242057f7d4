/**
 * The embedded engine: a durable queue in one SQLite file, with no server. One process holds the file; a second one is refused
 * with DB_MSG_ENGINE_LOCKED unless all of them asked to share it.
 *
 * All operations of the process go through one writer as turns (`turn-queue.ts`), so that publish -> deliver costs one commit. With `share`
 * several processes of one machine use the file: one of them hosts the writer, the others speak to it over a local socket (`sharing/`).
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Engine, EngineContext } from '../../engine.ts';
import type { EngineLacking } from '../../needs.ts';
import { EmbeddedConnection } from './connection.ts';
import { type EmbeddedEngineOptions, MAX_MESSAGE_BYTES, settingsOf } from './options.ts';
import { openGuestWriter } from './sharing/guest-writer.ts';
import { openSharedWriter } from './sharing/shared-writer.ts';
import type { Writer } from './turn.ts';
import { openInProcessWriter, openWriterThread } from './writer.ts';

export { EmbeddedConnection } from './connection.ts';
export type { EmbeddedEngineOptions } from './options.ts';
export { openInProcessWriter } from './writer.ts';
export type { Operation, OperationResult, Turn, TurnReply, Writer } from './turn.ts';

/** The durable engine on a file, with its writer in a thread of its own. */
export function createEmbeddedEngine(options: EmbeddedEngineOptions): EngineLacking<'broadcast'> {
  const { path, keepUnsubscribedMs, maxMessageBytes, share } = settingsOf(options);
  const store = { durable: true, keepUnsubscribedMs };
  return embeddedEngineOn(
    (context) =>
      share
        ? openSharedWriter({ path, store, maxMessageBytes }, context)
        : openWriterThread({ path, options: store }, context.onFatal),
    maxMessageBytes,
  );
}

/**
 * For a tool beside the application, on a file that processes share: it looks, publishes and mends, and never hosts the file, so that nobody waits for a tool that is
 * suspended or forgotten. It takes no messages (`subscribe` is refused with DB_MSG_UNSUPPORTED_CAPABILITY) and makes no file.
 */
export function createGuestEngine(options: Pick<EmbeddedEngineOptions, 'path' | 'maxMessageBytes'>): Engine {
  const { path, maxMessageBytes } = settingsOf(options);
  return embeddedEngineOn((context) => openGuestWriter({ path, maxMessageBytes }, context), maxMessageBytes);
}

/** The same store in this thread on a database of the caller's, for simulations: confirmations state `memory`. */
export function createInProcessEngine(database: DatabaseSync): Engine {
  return embeddedEngineOn(async () => openInProcessWriter(database));
}

/** The engine on any writer: for a simulator that delays turns, loses replies or crashes between them. */
export function embeddedEngineOn(
  openWriter: (context: EngineContext) => Promise<Writer>,
  maxMessageBytes = MAX_MESSAGE_BYTES,
): Engine {
  return {
    name: 'embedded',
    async connect(context) {
      const told = { ...context, onFatal: onlyFirst(context.onFatal) };
      return new EmbeddedConnection(await openWriter(told), told, maxMessageBytes);
    },
  };
}

/** The writer and the queue of turns both see a store that is lost. */
function onlyFirst(onFatal: (error: Error) => void): (error: Error) => void {
  let isTold = false;
  return (error) => {
    if (!isTold) onFatal(error);
    isTold = true;
  };
}
