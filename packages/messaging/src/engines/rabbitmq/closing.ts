/**
 * The end of a channel or a connection, which comes in any case. amqplib calls back on the broker's CloseOk alone: when the connection breaks, or goes without
 * heartbeats, after the close was asked for, its promise stays pending for ever, and only the event `close` tells. And with a broker that stands still neither
 * comes before the heartbeats are missed, so a whole connection is waited for a limited time and then cut.
 */
import type { Socket } from 'node:net';
import type { ChannelModel } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';

/** For each part of leaving. A loaded broker takes a second. */
export const LONGEST_CLOSE_MS = 5_000;

interface Closing {
  close(): Promise<unknown>;
  once(event: 'close', listener: () => void): unknown;
}

/** Asks for the end and resolves with it: answered, refused because it has ended already, or gone with its connection. Never rejects. */
export function closed(one: Closing): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => resolve();
    one.once('close', end);
    one.close().then(end, end);
  });
}

/**
 * Resolves when nothing of the connection is left, after `LONGEST_CLOSE_MS` at most. Its socket goes in any case: of a connection that the broker has blocked the client calls itself closed at once, and the
 * broker, which does not read it, would keep the process from ending for as long as its alarm lasts.
 */
export async function closeConnection(model: ChannelModel, clock: Clock): Promise<void> {
  const over = new AbortController();
  void closed(model).then(() => over.abort());
  await pause(clock, LONGEST_CLOSE_MS, over.signal);
  socketOf(model)?.destroy();
}

/** How amqplib says that nothing came from the broker for two heartbeats; it has no code for it. */
const HEARTBEATS_MISSED = 'Heartbeat timeout';

/**
 * amqplib ends its side of a connection that broke, and waits for the other side, which may never hear of it: without heartbeats the socket would keep the process from ending for a
 * quarter of an hour. What was written goes out first, for `LONGEST_CLOSE_MS` at most: a broker that reads nothing more would keep what is left of it, and the socket with it, for as
 * long. After missed heartbeats nobody is thought to read, so nothing is waited for.
 */
export function letGoOfSocket(model: ChannelModel, cause: Error, clock: Clock): void {
  const socket = socketOf(model);
  if (!socket || socket.destroyed) return;
  if (cause.message === HEARTBEATS_MISSED) return void socket.destroy();
  const cancel = clock.setTimer(LONGEST_CLOSE_MS, () => void socket.destroy());
  socket.once('close', cancel);
  socket.destroySoon();
}

/** As in `gathering.ts`: not named by the client's documentation. */
function socketOf(model: ChannelModel): Socket | undefined {
  const { stream } = model.connection as unknown as { readonly stream?: Socket };
  return typeof stream?.destroySoon === 'function' ? stream : undefined;
}
