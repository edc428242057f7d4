/** A broker that reads nothing more and sends nothing: with its heartbeats missed the socket goes, whatever is left to write. Control: one that waits for its writes stays. */
import { Socket } from 'node:net';
import type { ChannelModel } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { registerControls } from '../../conformance/controls.ts';
import { eventually, limitPatience, signal } from '../../conformance/fixture.ts';
import { rabbitUrl } from './conformance-fixture.ts';
import { createCutter } from './cutter.ts';
import { Link } from './link.ts';

/** More than what lies on the way takes (some megabytes on loopback); the client hands its socket no more than that takes at once. */
const PILE = 24;
const PIECE_BYTES = 1_000_000;
/** Longer than two heartbeats of a second; and less than what a connection that broke otherwise gets to write. */
limitPatience(4_000);

const SOCKET_GOES =
  'the socket of a connection with much to write goes when its heartbeats are missed, and the link comes back';

async function socketGoes(change: (socket: Socket) => void = () => {}): Promise<void> {
  const cutter = await createCutter(rabbitUrl ?? '');
  const url = new URL(cutter.url);
  url.searchParams.set('heartbeat', '1');
  const models: ChannelModel[] = [];
  const down = signal();
  const link = new Link({
    urls: [url.href],
    clock: systemClock,
    name: 'missed heartbeats',
    onUp: async (model) => void models.push(model),
    onDown: () => down.fire(),
    onTrouble: () => {},
  });
  let socket: Socket | undefined;
  try {
    await link.open();
    const model = models[0] as ChannelModel;
    const found = (model.connection as unknown as { readonly stream: Socket }).stream;
    socket = found;
    change(found);
    let left = 0;
    let why = '';
    model.on('error', ({ message }: Error) => {
      why = message;
      left = found.writableLength;
    });
    const channel = await model.createChannel();
    channel.on('error', () => {});
    cutter.clog();
    // To no queue: what is on the way is all that matters.
    for (let n = 0; n < PILE; n += 1) channel.publish('', 'nowhere', Buffer.alloc(PIECE_BYTES));
    await down.fired;
    expect(why).toBe('Heartbeat timeout');
    expect(left).toBeGreaterThan(0);
    await eventually(
      async () => found.destroyed,
      (isDestroyed) => isDestroyed,
      'the end of the socket',
    );
    await eventually(
      async () => link.up && models.length,
      (count) => count === 2,
      'a link that is up again',
    );
  } finally {
    if (socket) Reflect.apply(Socket.prototype.destroy, socket, []);
    await link.close();
    await cutter.close();
  }
}

describe.skipIf(rabbitUrl === undefined)(
  'missed heartbeats on RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 30_000 },
  () => {
    registerControls(it, 'rabbitmq', [
      {
        defect: 'what was written is waited for',
        caughtBy: SOCKET_GOES,
        healthy: () => socketGoes(),
        defective: () =>
          socketGoes((socket) => {
            socket.destroy = function destroy() {
              return this.end();
            };
          }),
      },
    ]);
  },
);
