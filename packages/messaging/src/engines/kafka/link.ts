/**
 * Requests to the brokers, one by one, over a connection pool of its own. The client's Consumer and Admin hide what this engine is built on: the
 * text that a commit keeps beside the offset, and a fetch of any partition without a session. So these requests are sent as they are, with
 * the client's connections, versions and parsers; only the answer to a fetch is read by `fetch-answer.ts`.
 *
 * A long fetch or a join holds up everything behind it on its connection: whoever waits long opens a link of its own.
 */
import {
  Base,
  type Broker,
  type ClusterMetadata,
  type ClusterTopicMetadata,
  kGetApi,
  kGetBootstrapConnection,
  kGetConnection,
} from '@platformatic/kafka';
import type { API, Callback, Connection } from '@platformatic/kafka';
import { type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { Farewell } from './farewell.ts';
import { heard } from './heard.ts';
import { faultOf, isCoordinatorAway, messageOf, says } from './faults.ts';
import type { KafkaSettings } from './options.ts';

/** What the client's classes are made with. */
export function clientOptions(settings: KafkaSettings): {
  readonly clientId: string;
  readonly bootstrapBrokers: string[];
  readonly timeout: number;
  readonly requestTimeout: number;
  readonly connectTimeout: number;
  readonly retries: number;
  readonly retryDelay: number;
  readonly sasl?: NonNullable<KafkaSettings['sasl']>;
  readonly tls?: NonNullable<KafkaSettings['tls']>;
} {
  const { sasl, tls, requestTimeoutMs } = settings;
  return {
    clientId: 'doorbuster',
    bootstrapBrokers: [...settings.brokers],
    timeout: requestTimeoutMs,
    requestTimeout: requestTimeoutMs,
    connectTimeout: Math.min(5_000, requestTimeoutMs),
    retries: 3,
    retryDelay: 100,
    ...(sasl === undefined ? {} : { sasl }),
    ...(tls === undefined ? {} : { tls }),
  };
}

const COORDINATOR_LOOKS = 30;
const COORDINATOR_WAIT_MS = 100;

type Call<A extends unknown[], R> = { readonly version: number; readonly run: (...args: A) => Promise<R> };

export class Link {
  readonly #clock: Clock;
  readonly #base: Base;
  readonly #coordinators = new Map<string, number>();

  constructor(settings: KafkaSettings, clock: Clock) {
    this.#clock = clock;
    this.#base = heard(new Base(clientOptions(settings)));
  }

  close(): Promise<void> {
    return new Farewell(this.#clock).close(this.#base);
  }

  /** What the cluster says of these topics. A topic that is not there is missing in the answer. */
  async topics(
    names: readonly string[],
    { fresh = false } = {},
  ): Promise<ReadonlyMap<string, ClusterTopicMetadata>> {
    const found = new Map<string, ClusterTopicMetadata>();
    try {
      const { topics } = await this.#base.metadata({ topics: [...names], forceUpdate: fresh });
      for (const [name, topic] of topics) if (topic) found.set(name, topic);
      return found;
    } catch (error) {
      // One unknown name fails the whole question.
      if (!isUnknownTopic(error)) throw faultOf(error, 'asking for topics');
      if (names.length === 1) return found;
      for (const name of names)
        for (const [known, topic] of await this.topics([name], { fresh })) found.set(known, topic);
      return found;
    }
  }

  async cluster(fresh = false): Promise<ClusterMetadata> {
    try {
      return await this.#base.metadata({ topics: [], forceUpdate: fresh });
    } catch (error) {
      throw faultOf(error, 'asking for the brokers');
    }
  }

  /** The node that leads a partition. Rejects with DB_MSG_ENGINE_UNREACHABLE while none does. */
  async leaderOf(topic: string, partition: number, fresh = false): Promise<number> {
    const leader = (await this.topics([topic], { fresh })).get(topic)?.partitions[partition]?.leader;
    if (leader === undefined || leader < 0)
      throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `nobody leads ${topic}/${partition} now`);
    return leader;
  }

  /** A request to one node, with the newest version that both sides speak; `adapt` may read its answer in another way. */
  async onNode<A extends unknown[], R>(
    api: string,
    node: number,
    adapt?: (api: API<A, R>) => API<A, R>,
  ): Promise<Call<A, R>> {
    const broker = (await this.cluster()).brokers.get(node) ?? (await this.cluster(true)).brokers.get(node);
    if (!broker) throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `broker ${node} is not there`);
    return this.#call<A, R>(api, () => this.#connection(broker), adapt);
  }

  onAny<A extends unknown[], R>(api: string): Promise<Call<A, R>> {
    return this.#call<A, R>(api, () =>
      promised<Connection>((done) => this.#base[kGetBootstrapConnection](done)),
    );
  }

  /** Runs a request at the group's coordinator; again when it has moved or is not there yet, for about three seconds. */
  async atCoordinator<A extends unknown[], R>(group: string, api: string, ...args: A): Promise<R> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const { run } = await this.onNode<A, R>(api, await this.#coordinatorOf(group));
        return await run(...args);
      } catch (error) {
        this.#coordinators.delete(group);
        if (!isCoordinatorAway(error) || attempt >= COORDINATOR_LOOKS) throw error;
        await pause(this.#clock, COORDINATOR_WAIT_MS);
      }
    }
  }

  async #coordinatorOf(group: string): Promise<number> {
    const known = this.#coordinators.get(group);
    if (known !== undefined) return known;
    const { run } = await this.onAny<
      [number, string[]],
      { readonly coordinators: readonly { readonly nodeId: number }[] }
    >('FindCoordinator');
    const node = (await run(0, [group])).coordinators[0]?.nodeId;
    if (node === undefined)
      throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `no coordinator for ${group}`);
    this.#coordinators.set(group, node);
    return node;
  }

  #connection(broker: Broker): Promise<Connection> {
    return promised<Connection>((done) => this.#base[kGetConnection](broker, done));
  }

  async #call<A extends unknown[], R>(
    name: string,
    connect: () => Promise<Connection>,
    adapt: (api: API<A, R>) => API<A, R> = (same) => same,
  ): Promise<Call<A, R>> {
    const found = await promised<API<A, R>>((done) => this.#base[kGetApi]<A, R>(name, done));
    const api = adapt(found);
    const run = async (...args: A): Promise<R> => {
      const connection = await connect();
      return promised<R>((done) => {
        const send = api as unknown as (connection: Connection, ...rest: unknown[]) => void;
        send(connection, ...args, done);
      });
    };
    return { version: api.version, run };
  }
}

function isUnknownTopic(error: unknown): boolean {
  return (
    says(error, 'UNKNOWN_TOPIC_OR_PARTITION') ||
    (error instanceof Error && messageOf(error).includes('Unknown topic'))
  );
}

function promised<T>(begin: (done: Callback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    begin((error, value) => (error ? reject(error) : resolve(value as T)));
  });
}
