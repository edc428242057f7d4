/** The end of channels and connections whose broker does not say so. */
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import type { ChannelModel } from 'amqplib';
import { expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { settledInTime } from '../../testing/settled-in-time.ts';
import { closeConnection, closed, letGoOfSocket, LONGEST_CLOSE_MS } from './closing.ts';

/** Closes as amqplib does: only the broker's answer settles the promise. */
function pendingClose() {
  const socket = { destroyed: 0, destroySoon: () => {}, destroy: () => void (socket.destroyed += 1) };
  const one = Object.assign(new EventEmitter(), {
    connection: { stream: socket },
    close: () => new Promise<void>(() => {}),
  });
  return { one, socket, model: one as unknown as ChannelModel };
}

it('a connection that breaks while a channel is being closed ends the close', async () => {
  const { one } = pendingClose();
  const closing = closed(one);
  one.emit('close');
  await expect(closing).resolves.toBeUndefined();
});

it('one that has ended already is closed', async () => {
  const { one } = pendingClose();
  const ended = Object.assign(one, { close: () => Promise.reject(new Error('Channel closed')) });
  await expect(closed(ended)).resolves.toBeUndefined();
});

it('a connection whose broker does not answer is cut when the time is over', async () => {
  const clock = createManualClock();
  const { model, socket } = pendingClose();
  await settledInTime(clock, closeConnection(model, clock));
  expect(clock.monotonic()).toBeGreaterThanOrEqual(LONGEST_CLOSE_MS);
  expect(socket.destroyed).toBe(1);
});

it('and one that breaks meanwhile is not waited for', async () => {
  const clock = createManualClock();
  const { one, model, socket } = pendingClose();
  const closing = closeConnection(model, clock);
  one.emit('close');
  await expect(closing).resolves.toBeUndefined();
  expect(clock.monotonic()).toBe(0);
  expect(socket.destroyed).toBe(1);
});

/** Writes that nobody reads: it never comes to its end by itself. */
function fullSocket() {
  const stream = new PassThrough({ highWaterMark: 1 });
  const socket = Object.assign(stream, { destroySoon: () => void stream.end() });
  socket.write('more than it holds');
  return { socket, model: { connection: { stream: socket } } as unknown as ChannelModel };
}

it('the socket of a connection whose heartbeats were missed goes at once, whatever is left to write', () => {
  const { socket, model } = fullSocket();
  letGoOfSocket(model, new Error('Heartbeat timeout'), createManualClock());
  expect(socket.destroyed).toBe(true);
});

it('that of one that broke otherwise writes what is left, and goes when nobody has read it in time', async () => {
  const clock = createManualClock();
  const { socket, model } = fullSocket();
  letGoOfSocket(model, new Error('Unexpected close'), clock);
  clock.advance(LONGEST_CLOSE_MS - 1);
  expect(socket.destroyed).toBe(false);
  clock.advance(1);
  expect(socket.destroyed).toBe(true);
});
