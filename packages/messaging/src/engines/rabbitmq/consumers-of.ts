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
  /** Messages that the consumer is lent meanwhile. Undefined where the queue stays whatever is found, and is only counted: it is of others, who would get them twice. */
  readonly lent: number | undefined;
}

const LONGEST_COUNT_MS = 5_000;
/** Until the broker has seen that the channel of the question is gone. */
const LEAVING_MS = 1_000;
const AGAIN_MS = 20;
const NOT_FOUND = 404;

/** A queue that is not there has none. Rejects as retryable when nobody knows: what is forgotten under its consumers takes from them what they have not had. */
export async function consumersOf(asked: Asked): Promise<number> {
  const { clock, model, queue, lent } = asked;
  try {
    const counted = await surelyCounted(asked);
    if (counted.consumerCount > 0 || lent === undefined) return counted.consumerCount;
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
    if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
    return 0;
  }
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
