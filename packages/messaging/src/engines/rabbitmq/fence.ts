/**
 * Acknowledgements have no answer in AMQP. A `basic.qos` behind them on the same channel has: when it is answered, the broker has taken all that was sent before it.
 *
 * The client's own `prefetch` makes its promise by `util.promisify` at each call, 60 us of processor for every hundred messages that are acknowledged. It does so around a method that its
 * documentation does not name; a client without that one gets the documented call.
 */
import type { Channel } from 'amqplib';

interface Inside {
  readonly _rpc?: (
    method: number,
    fields: object,
    expected: number,
    answered: (error: unknown) => void,
  ) => unknown;
}

/** Class 60 and method 10 of AMQP 0-9-1, as the client numbers them; the answer is the next. */
const QOS = 60 * 2 ** 16 + 10;

/** `window`: the prefetch that the channel has already. Rejects when the channel closes first. */
export async function takenUntilHere(channel: Channel, window: number): Promise<void> {
  const inside = channel as Channel & Inside;
  if (typeof inside._rpc !== 'function') return void (await channel.prefetch(window));
  const fields = { prefetchCount: window, prefetchSize: 0, global: false };
  await new Promise<void>((resolve, reject) => {
    inside._rpc?.(QOS, fields, QOS + 1, (error) => (error ? reject(error as Error) : resolve()));
  });
}
