/**
 * Of those that look through one queue only one goes on: an exclusive queue beside it, which belongs to one connection and goes with it. Within a process `Turns` does the same.
 *
 * Not for every look: it costs two commands, and who is refused loses a channel and makes the broker write an error to its log (docs/decisions/0100-an-empty-look-is-asked-again.md).
 */
import type { Channel, ChannelModel } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import type { Ask } from './answered.ts';
import { closed } from './closing.ts';
import { unreachable } from './link.ts';

interface Claim {
  readonly model: ChannelModel;
  readonly clock: Clock;
  readonly queue: string;
  readonly ask: Ask;
}

const RESOURCE_LOCKED = 405;
/** Each refusal is a line in the broker's log. */
const AGAIN_MS = 500;
const LONGEST_WAIT_MS = 60_000;

/** Rejects as retryable when others have it for a minute. */
export async function solely<T>(claim: Claim, work: () => Promise<T>): Promise<T> {
  const name = `${claim.queue}/look`;
  const end = claim.clock.monotonic() + LONGEST_WAIT_MS;
  let channel = await claimOnce(claim, name);
  for (; !channel; channel = await claimOnce(claim, name)) {
    if (claim.clock.monotonic() > end) throw unreachable(`others look through "${claim.queue}" for too long`);
    await pause(claim.clock, AGAIN_MS);
  }
  try {
    return await work();
  } finally {
    await claim.ask(channel.deleteQueue(name)).catch(() => {});
    await claim.ask(closed(channel)).catch(() => {});
  }
}

/** The channel on which it is held; undefined when another connection has it. */
async function claimOnce({ model, ask }: Claim, name: string): Promise<Channel | undefined> {
  const channel = await ask(model.createChannel());
  channel.on('error', () => {});
  try {
    await ask(channel.assertQueue(name, { exclusive: true, durable: false }));
    return channel;
  } catch (error) {
    // The broker closes the channel of who is refused; after any other failure nobody else does.
    channel.close().catch(() => {});
    if ((error as { cause?: { code?: unknown } }).cause?.code === RESOURCE_LOCKED) return undefined;
    throw error;
  }
}
