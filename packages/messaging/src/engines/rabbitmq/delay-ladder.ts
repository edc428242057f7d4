/**
 * Delay by fixed-delay queues. A queue with mixed TTLs holds a short delay behind a long one, because only the head expires; so each queue of
 * the ladder has ONE delay: unit, 2 units, 4 units ... A message visits the rungs whose bits are set in its delay, from the longest to the shortest.
 *
 *   rung k (topic exchange) --bit k is 1--> queue k (waits 2^k units, dead-letters to rung k-1)
 *                           --bit k is 0--> rung k-1
 *   rung 0 ... --> out (topic exchange) --`#.<target>`--> the target
 *
 * The routing key holds the bits and the target, so the broker alone moves the message and no process has to run. Rungs are quorum queues
 * that dead-letter at least once: the message is on a disk at every step. What has no target any more lands in `lost`
 * instead of holding its rung up.
 *
 * A message of a channel routed by keys has its own routing key behind the target, and the subscriptions' queues are bound to `out` with
 * their own patterns there: the broker cannot give a message back the routing key it had before the ladder.
 */
import type { Channel } from 'amqplib';
import { type Channels, inTurn } from './channels.ts';

export interface Ladder {
  readonly resolutionMs: number;
  readonly maxMs: number;
  readonly entry: string;
  readonly out: string;
  /** Routing key for a wait of at least `ms`. `key` is given on channels routed by keys. */
  readonly routeFor: (ms: number, target: string, key?: LateKey) => string;
  /** Binding of a target on `out`. */
  readonly pattern: (target: string) => string;
  /** Binding of a queue on `out`, for what a target would have routed to it by this key or pattern. */
  readonly latePattern: (target: string, key: LateKey) => string;
  readonly declare: (channel: Channel) => Promise<void>;
  /** Rejects, and one of the channels is closed, when something of it is not there. Asks only, which is far less work for the broker than to declare it again. */
  readonly check: (channels: Channels) => Promise<void>;
  readonly remove: (channel: Channel) => Promise<void>;
}

export interface LateKey {
  readonly routing: 'direct' | 'topic';
  readonly text: string;
}

const UNIT_MS = 10;
const RUNGS = 24;

export function createLadder(prefix: string): Ladder {
  const rung = (index: number): string => `${prefix}delay/${index}`;
  const out = `${prefix}delay/out`;
  const lost = `${prefix}delay/lost`;
  // Made behind all bindings, so that whoever finds it knows that they were made; they cannot be asked for.
  const whole = `${prefix}delay/whole`;
  const rungs = Array.from({ length: RUNGS }, (_, index) => rung(index));
  const below = (index: number): string => (index === 0 ? out : rung(index - 1));
  const word = (target: string): string => encodeURIComponent(target).replaceAll('.', '%2E');
  // The slash at the end is no word of any target, so that `#.<target>` never takes what belongs behind another target.
  const tail = ({ routing, text }: LateKey): string =>
    `.${routing === 'topic' ? text : word(text).replaceAll('*', '%2A')}./`;
  const match = (index: number, bit: 0 | 1): string => `${'*.'.repeat(RUNGS - 1 - index)}${bit}.#`;
  return {
    resolutionMs: UNIT_MS,
    maxMs: UNIT_MS * (2 ** RUNGS - 1),
    entry: rung(RUNGS - 1),
    out,
    routeFor(ms, target, key) {
      const units = Math.min(2 ** RUNGS - 1, Math.max(1, Math.ceil(ms / UNIT_MS)));
      const bits = units.toString(2).padStart(RUNGS, '0').split('').join('.');
      return `${bits}.${word(target)}${key ? tail(key) : ''}`;
    },
    pattern: (target) => `#.${word(target)}`,
    latePattern: (target, key) => `${'*.'.repeat(RUNGS)}${word(target)}${tail(key)}`,
    async declare(channel) {
      const quorum = { 'x-queue-type': 'quorum' };
      await channel.assertExchange(lost, 'fanout', { durable: true });
      await channel.assertQueue(lost, { durable: true, arguments: quorum });
      await channel.bindQueue(lost, lost, '');
      await channel.assertExchange(out, 'topic', { durable: true, alternateExchange: lost });
      for (let index = 0; index < RUNGS; index += 1) {
        await channel.assertExchange(rung(index), 'topic', { durable: true });
        await channel.assertQueue(rung(index), {
          durable: true,
          arguments: {
            ...quorum,
            'x-message-ttl': UNIT_MS * 2 ** index,
            'x-dead-letter-exchange': below(index),
            'x-dead-letter-strategy': 'at-least-once',
            'x-overflow': 'reject-publish',
          },
        });
        await channel.bindQueue(rung(index), rung(index), match(index, 1));
        await channel.bindExchange(below(index), rung(index), match(index, 0));
      }
      await channel.assertExchange(whole, 'fanout', { durable: true });
    },
    async check(channels) {
      await inTurn(channels, [...rungs, lost, out, whole], async (channel, name) => {
        await channel.checkExchange(name);
      });
      await inTurn(channels, [...rungs, lost], async (channel, name) => {
        await channel.checkQueue(name);
      });
    },
    async remove(channel) {
      await channel.deleteExchange(whole);
      for (let index = RUNGS - 1; index >= 0; index -= 1) {
        await channel.deleteQueue(rung(index));
        await channel.deleteExchange(rung(index));
      }
      await channel.deleteExchange(out);
      await channel.deleteQueue(lost);
      await channel.deleteExchange(lost);
    },
  };
}
