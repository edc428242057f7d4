/** Entry of the writer thread: owns the file, runs one turn after the other, answers after each commit. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { packBodies, packHandOut, packReply, type PackedTurn, unpackTurn } from './packing.ts';
import { Store } from './store.ts';
import type { WriterThreadData, WriterThreadReply, WriterThreadRequest } from './writer.ts';

const port = parentPort;
if (!port) throw new Error('writer-thread.ts runs as a worker thread only');

const answer = (reply: WriterThreadReply): void => port.postMessage(reply);

let opened: DatabaseSync | undefined;
try {
  const { path, options } = workerData as WriterThreadData;
  mkdirSync(dirname(path), { recursive: true });
  opened = new DatabaseSync(path);
  serve(opened, new Store(opened, options, () => systemClock.monotonic()));
  answer({ ready: true });
} catch (error) {
  // Before it is told: whoever hears that the file is refused may open it by other means at once.
  opened?.close();
  const refused =
    error instanceof MessagingError
      ? { code: error.code, message: error.message }
      : {
          code: 'DB_MSG_ENGINE_UNSAFE' as const,
          message: `the file cannot be opened: ${(error as Error).message}`,
        };
  answer({ refused });
}

function serve(database: DatabaseSync, store: Store): void {
  port?.on('message', (request: WriterThreadRequest) => {
    try {
      if ('turn' in request) {
        runTurn(store, request.turn);
        return readAhead(store);
      }
      store.close();
      database.close();
      port.close();
    } catch (error) {
      // Nothing is known about what was stored, and a failed sync must not be tried again: this thread is done.
      answer({ failed: (error as Error).message });
      port.close();
    }
  });
}

/** What is handed out goes ahead of the commit, to be read while that takes its time; the answer then only says that it counts. */
function runTurn(store: Store, turn: PackedTurn): void {
  let isForetold = false;
  const reply = store.run(unpackTurn(turn), (handOuts) => {
    isForetold = true;
    answer({ foretold: handOuts.map(packHandOut) });
  });
  if (!isForetold || reply.handOuts.length === 0) return answer({ reply: packReply(reply) });
  answer({ reply: packReply({ ...reply, handOuts: [] }), asForetold: true });
}

/** After the answer, while what it brought is handled. */
function readAhead(store: Store): void {
  const bodies = store.readAhead();
  if (bodies) answer({ ahead: packBodies(bodies) });
}
