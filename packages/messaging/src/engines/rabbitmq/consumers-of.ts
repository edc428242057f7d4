/**
 * Whether anybody reads a queue that is to be deleted. Nothing of it may be taken for "nobody" that is not: a busy leader is counted as having no consumers (`counting.ts`), and so is a leader that is gone
 * until the next one is known. So the queue itself is asked by a consumer that comes and goes, which it does not answer without a leader, and counted again.
 */
import type { ChannelModel } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import { beginConsuming } from './answered.ts';
import { onChannels } from './channels.ts';
import { patientCountOf, type QueueCount } from './counting.ts';
import { unreachable } from './link.ts';

interface Asked {
  readonly clock: Clock;
  readonly model: ChannelModel;
  readonly queue: string;
}

const LONGEST_COUNT_MS = 5_000;
/** Until the broker has seen that the channel of the question is gone. */
const LEAVING_MS = 1_000;
const AGAIN_MS = 20;
const NOT_FOUND = 404;

/**
 * A queue that is not there has none. Rejects as retryable when nobody knows: what is forgotten under its consumers takes from them what they have not had. What the question is lent goes back as after a crash: whoever has
 * several queues counts (`countedOn`) all of them before it asks any.
 */
export async function consumersOf(asked: Asked & { readonly lent: number }): Promise<number> {
  const { clock, model, queue, lent } = asked;
  try {
    await onChannels(model, 1, async ([channel]) => {
      await channel.prefetch(lent);
      await beginConsuming(
        { clock, channel, queue },
        () => {},
        () => {},
      );
    });
    return (await countedWithout(asked)).consumerCount;
  } catch (error) {
    return noneOf(error);
  }
}

/** Without a question; 0 may be untrue. */
export async function countedOn(asked: Asked): Promise<number> {
  try {
    return (await surelyCounted(asked)).consumerCount;
  } catch (error) {
    return noneOf(error);
  }
}

function noneOf(error: unknown): 0 {
  if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
  return 0;
}

async function countedWithout(asked: Asked): Promise<QueueCount> {
  const end = asked.clock.monotonic() + LEAVING_MS;
  for (;;) {
    const counted = await surelyCounted(asked);
    if (counted.consumerCount === 0 || asked.clock.monotonic() > end) return counted;
    await pause(asked.clock, AGAIN_MS);
  }
}

async function surelyCounted({ clock, model, queue }: Asked): Promise<QueueCount> {
  const counted = await onChannels(model, 1, ([channel]) =>
    patientCountOf({ clock, channel, queue }, LONGEST_COUNT_MS),
  );
  if (!counted) throw unreachable(`"${queue}" is too busy to say whether it has consumers`);
  return counted;
}
