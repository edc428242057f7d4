/** What a team may set about RabbitMQ. Everything has a default but the address. */
import { MessagingError } from '../../errors.ts';
import { safeHook } from '../../hook.ts';
import { within } from '../../sound-numbers.ts';
import type { ExistingPlace, QueueType } from './names.ts';
import type { Route } from './route.ts';

export interface RabbitEngineOptions {
  /** `amqp://user:password@host:port/vhost`, or `amqps://`. Of a cluster name every node: a lost connection goes on at the next one. */
  readonly url: string | readonly string[];
  /** In front of every exchange and queue. Default `doorbuster.`; empty to give channels their bare names. */
  readonly prefix?: string;
  /** In front of the delay ladder's exchanges and queues; engines with different prefixes may share one. Default: `prefix`. */
  readonly ladderPrefix?: string;
  /**
   * Queue type of a channel's subscriptions. Default `quorum`: replicated, and it counts hand-outs that ended in a crash. `classic` cannot
   * count them. Channels with priorities always get classic queues: quorum queues of 3.10 refuse them.
   */
  readonly queueType?: QueueType | { readonly [channel: string]: QueueType };
  /** Queues per subscription on channels with order per key, 1 to 64. Default 8. Fixed once the channel was declared. */
  readonly partitions?: number;
  /**
   * How long a channel that nobody subscribed to keeps its messages, ms. Default 7 days. 0: such a publish rejects with
   * DB_MSG_UNROUTABLE.
   */
  readonly keepUnsubscribedMs?: number;
  /** Longest wait for a confirm, ms. After it the publish rejects as retryable. Default 30,000. */
  readonly confirmTimeoutMs?: number;
  /** Largest body, bytes. Default 1 MiB; the broker refuses above 128 MiB. */
  readonly maxMessageBytes?: number;
  /** Exchanges of others whose messages are led into a channel: topic, headers, direct or fanout. */
  readonly routes?: readonly Route[];
  /**
   * Channels that stand for what a team already has, by channel. `{ queue }`: published to by the default exchange and consumed by ONE
   * subscription, without order per key, priorities or bindings. `{ exchange }`: published to, and subscriptions get queues of their own that are
   * bound to it; its type is what the channel's routing says. Both have to be there: DB_MSG_INVALID_OPTIONS otherwise.
   * A confirmation states `disk` where the broker says that the queue is durable, else `memory`. What queues of others hang on an exchange it cannot say: `durable: true` is the
   * team's word that all of them are durable, and for a queue where the user may not ask (`configure`). DB_MSG_INVALID_OPTIONS at the start where the broker says otherwise;
   * of a queue that is made anew later the notice `lessDurable` tells it.
   */
  readonly existing?: Readonly<Record<string, ExistingPlace>>;
  /**
   * Exchange to which what became a dead letter is also published, for all channels or by channel, for those who watch dead letters with tools of their own: as
   * it came, with the `x-death` headers of the broker, the reason in `x-db-reason` and the routing key `<channel>.<subscription>`. A copy: the dead letters with their
   * history and redrive stay where they are. Used as it is, or made as a topic exchange when it is not there. At least once; a copy that no queue
   * takes is dropped. Default: none.
   */
  readonly deadLetterExchange?: string | { readonly [channel: string]: string };
  /** Tells what happens to the connection and the topology; for logs and tests. What it throws is passed over; the first time is a warning of the process. */
  readonly onNotice?: (notice: RabbitNotice) => void;
}

export type RabbitNotice =
  /** Not a RabbitMQ 3: nothing here was tried on it. Told for each connection. */
  | { readonly kind: 'untried'; readonly server: string }
  | { readonly kind: 'connected'; readonly connection: 'publish' | 'consume' }
  | { readonly kind: 'disconnected'; readonly connection: 'publish' | 'consume' }
  | { readonly kind: 'blocked'; readonly reason: string }
  | { readonly kind: 'unblocked' }
  /** Why something does not come back; it is tried again and again, after at most 5 s (a refused publish's channel: 16 s). */
  | { readonly kind: 'trouble'; readonly error: unknown }
  /**
   * The queue of others that the channel stands for was durable and, after a connection came back or a consumer was lost, is not known to be any longer: what is published there is stated as
   * `memory` from now on, also where the channel requires more. Told once.
   */
  | { readonly kind: 'lessDurable'; readonly channel: string; readonly queue: string }
  /** A consumer's channel was closed by the broker, or its queue deleted; it is declared and opened again. */
  | { readonly kind: 'consumerLost'; readonly channel: string; readonly subscription: string }
  | { readonly kind: 'declared'; readonly what: 'queue' | 'exchange'; readonly name: string };

export type RabbitSettings = Required<
  Omit<RabbitEngineOptions, 'queueType' | 'url' | 'deadLetterExchange'>
> & {
  readonly urls: readonly string[];
  readonly queueTypeOf: (channel: string) => QueueType;
  readonly deadLetterExchangeOf: (channel: string) => string | undefined;
};

const WHAT = 'the RabbitMQ engine';
const WEEK_MS = 7 * 86_400_000;
const MIB = 2 ** 20;
const BROKER_LIMIT = 128 * MIB;

/** Throws DB_MSG_INVALID_OPTIONS with the first value that is out of its bounds. */
export function settingsOf(options: RabbitEngineOptions): RabbitSettings {
  const { queueType = 'quorum', prefix = 'doorbuster.', deadLetterExchange = {} } = options;
  const urls = typeof options.url === 'string' ? [options.url] : options.url;
  if (urls.length === 0) throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'url names no server');
  for (const url of urls) refuseUnreadable(url);
  return {
    urls,
    prefix,
    ladderPrefix: options.ladderPrefix ?? prefix,
    queueTypeOf: (channel) => (typeof queueType === 'string' ? queueType : (queueType[channel] ?? 'quorum')),
    deadLetterExchangeOf: (channel) =>
      typeof deadLetterExchange === 'string' ? deadLetterExchange : deadLetterExchange[channel],
    partitions: within(WHAT, 'partitions', options.partitions ?? 8, 1, 64),
    keepUnsubscribedMs: within(
      WHAT,
      'keepUnsubscribedMs',
      options.keepUnsubscribedMs ?? WEEK_MS,
      0,
      WEEK_MS * 52,
    ),
    confirmTimeoutMs: within(WHAT, 'confirmTimeoutMs', options.confirmTimeoutMs ?? 30_000, 100, 600_000),
    maxMessageBytes: within(WHAT, 'maxMessageBytes', options.maxMessageBytes ?? MIB, 1, BROKER_LIMIT),
    routes: options.routes ?? [],
    existing: options.existing ?? {},
    onNotice: safeHook('onNotice of the RabbitMQ engine', options.onNotice ?? (() => {})),
  };
}

/** Throws DB_MSG_INVALID_OPTIONS. The URL is neither repeated nor kept as the cause: it holds a password. */
function refuseUnreadable(url: string): void {
  try {
    const { protocol, username, password, pathname } = new URL(url);
    [username, password, pathname].forEach(decodeURIComponent);
    if (/^amqps?:$/.test(protocol)) return;
  } catch {
    // Told below, in other words than those of the parser.
  }
  throw new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    'url is of the form amqp://user:password@host:port/vhost; in user, password and vhost each of / # ? @ : and % is written as %2F, %23, %3F, %40, %3A and %25',
  );
}
