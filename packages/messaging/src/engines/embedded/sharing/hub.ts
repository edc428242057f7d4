/**
 * One writer for several sessions: the host's own and one per client. It numbers the consumers of all, gathers their operations into common
 * turns, so that one sync serves every process, and gives hand-outs to the session whose consumer they are for.
 *
 * A session ends in one of two ways: it left (`leave`: what it held goes back uncounted) or was lost (`lose`: counted as abandoned). Its
 * ephemeral channels go with it.
 */
import type { Durability } from '../../../channel.ts';
import type { Clock } from '../../../clock.ts';
import { MessagingError } from '../../../errors.ts';
import { isAbove } from '../../../message-size.ts';
import type { Operation, OperationResult, TurnReply, Writer } from '../turn.ts';
import { TurnQueue } from '../turn-queue.ts';

export type HandOuts = TurnReply['handOuts'];

export interface HubParts {
  readonly writer: Writer;
  readonly clock: Clock;
  readonly maxMessageBytes: number;
  readonly onLost: (error: Error) => void;
}

export interface HubSession {
  /** One result an operation, in order; never rejects. */
  run(operations: readonly Operation[]): Promise<readonly OperationResult[]>;
  /** Resolves when nothing of the session is left in the store. */
  end(how: 'leave' | 'lose'): Promise<void>;
}

export class Hub {
  readonly durability: Durability;
  readonly maxMessageBytes: number;
  readonly #queue: TurnQueue;
  readonly #writer: Writer;
  readonly #owners = new Map<number, (items: HandOuts[number]['items']) => void>();
  readonly #sessions = new Set<Session>();
  #nextConsumer = 1;

  constructor({ writer, clock, maxMessageBytes, onLost }: HubParts) {
    this.#writer = writer;
    this.durability = writer.durability;
    this.maxMessageBytes = maxMessageBytes;
    this.#queue = new TurnQueue({
      writer,
      clock,
      onHandOuts: (handOuts) => {
        for (const { consumer, items } of handOuts) this.#owners.get(consumer)?.(items);
      },
      onLost,
    });
  }

  join(receive: (handOuts: HandOuts) => void): HubSession {
    const session = new Session({
      ask: (operation) => this.#queue.ask(operation),
      maxMessageBytes: this.maxMessageBytes,
      own: (local) => {
        const consumer = this.#nextConsumer++;
        this.#owners.set(consumer, (items) => receive([{ consumer: local, items }]));
        return consumer;
      },
      disown: (consumer) => this.#owners.delete(consumer),
      onEnd: () => this.#sessions.delete(session),
    });
    this.#sessions.add(session);
    return session;
  }

  /** Takes leave for all that are still there, then closes the file. */
  async close(): Promise<void> {
    await Promise.all([...this.#sessions].map((session) => session.end('leave')));
    this.#queue.rest();
    await this.#writer.close();
  }
}

interface SessionParts {
  readonly ask: (operation: Operation) => Promise<unknown>;
  readonly maxMessageBytes: number;
  /** A number for a consumer of the session, by which the hub knows whose hand-outs are. */
  readonly own: (local: number) => number;
  readonly disown: (consumer: number) => void;
  readonly onEnd: () => void;
}

/** No consumer has it: what names a consumer that is not there is answered by the store as such. */
const NOBODY = 0;

class Session implements HubSession {
  readonly #parts: SessionParts;
  readonly #consumers = new Map<number, number>();
  readonly #ephemeral = new Set<string>();
  #ended: Promise<void> | undefined;

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  run(operations: readonly Operation[]): Promise<readonly OperationResult[]> {
    return Promise.all(operations.map((operation) => this.#run(operation)));
  }

  end(how: 'leave' | 'lose'): Promise<void> {
    this.#ended ??= this.#end(how);
    return this.#ended;
  }

  async #end(op: 'leave' | 'lose'): Promise<void> {
    const { ask, disown, onEnd } = this.#parts;
    const asked = [...this.#consumers.values()].map((consumer) => ask({ op, consumer }));
    if (this.#ephemeral.size > 0) asked.push(ask({ op: 'drop', channels: [...this.#ephemeral] }));
    for (const consumer of this.#consumers.values()) disown(consumer);
    this.#consumers.clear();
    // A store that is lost has ended every lease with it.
    await Promise.allSettled(asked);
    onEnd();
  }

  async #run(operation: Operation): Promise<OperationResult> {
    if (this.#ended) return refusal(new MessagingError('DB_MSG_STOPPED', 'the session has ended'));
    const fault = this.#faultOf(operation);
    if (fault) return refusal(fault);
    try {
      return { value: (await this.#parts.ask(this.#translate(operation))) as undefined };
    } catch (error) {
      if (operation.op === 'subscribe') this.#forget(operation.consumer);
      return refusal(error as MessagingError);
    }
  }

  #faultOf(operation: Operation): MessagingError | undefined {
    if (operation.op === 'subscribe' && this.#consumers.has(operation.consumer))
      return new MessagingError('DB_MSG_ALREADY_DECLARED', `consumer ${operation.consumer} is there already`);
    const bodies =
      operation.op === 'publish'
        ? operation.rows.map(({ body }) => body)
        : operation.op === 'redriveEdited'
          ? [operation.body]
          : [];
    const { maxMessageBytes } = this.#parts;
    const tooLarge = bodies.find((body) => isAbove(maxMessageBytes, body));
    return tooLarge === undefined
      ? undefined
      : new MessagingError(
          'DB_MSG_MESSAGE_TOO_LARGE',
          `a message takes ${Buffer.byteLength(tooLarge)} bytes; the host of the file allows ${maxMessageBytes}`,
        );
  }

  /** The operation with the hub's number for the consumer in it. */
  #translate(operation: Operation): Operation {
    switch (operation.op) {
      case 'subscribe': {
        const consumer = this.#parts.own(operation.consumer);
        this.#consumers.set(operation.consumer, consumer);
        return { ...operation, consumer };
      }
      case 'settle':
      case 'extend':
      case 'pause':
        return { ...operation, consumer: this.#consumers.get(operation.consumer) ?? NOBODY };
      case 'leave': {
        const consumer = this.#consumers.get(operation.consumer) ?? NOBODY;
        this.#forget(operation.consumer);
        return { ...operation, consumer };
      }
      case 'declare':
        for (const { ephemeral, name } of operation.topology.channels)
          if (ephemeral) this.#ephemeral.add(name);
        return operation;
      default:
        return operation;
    }
  }

  #forget(local: number): void {
    const consumer = this.#consumers.get(local);
    if (consumer === undefined) return;
    this.#consumers.delete(local);
    this.#parts.disown(consumer);
  }
}

function refusal({ code, message }: MessagingError): OperationResult {
  return { error: { code, message } };
}
