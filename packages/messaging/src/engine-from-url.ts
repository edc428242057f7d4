/**
 * One URL chooses the engine: what an application, the quickstart and `doorbuster-bus` start from. Engines are loaded when they are asked for, so
 * that nobody installs the client of a broker they do not use.
 *
 *   sqlite:./bus.db                     embedded, a file of this process; ?share=true for several of this machine
 *   amqp://user:secret@host:5672/vhost  RabbitMQ (amqps:// with TLS)      peer: amqplib
 *   kafka://one:9092,two:9092           Kafka                             peer: @platformatic/kafka
 *   redis://host:6379/0                 Redis Streams (rediss:// with TLS) peer: redis
 *   redis-lists://host:6379/0           Redis lists (rediss-lists:// with TLS) peer: redis
 *   redis-pubsub://host:6379            Redis Pub/Sub (rediss-pubsub:// with TLS), for broadcasts  peer: redis
 *
 * `?prefix=shop.` sets the engine's prefix, an empty one too; RabbitMQ also takes amqplib's heartbeat, frameMax, channelMax and locale. An
 * option that the engine does not have is refused by its name: a mistyped prefix would be another, empty bus. What else an engine can be told belongs into its own factory.
 */
import type { Engine } from './engine.ts';
import { MessagingError } from './errors.ts';
import { isMissingPackage } from './missing-package.ts';
import { readSqliteUrl } from './sqlite-url.ts';
import { withoutSecret } from './without-secret.ts';

interface Scheme {
  readonly module: string;
  /** What has to be installed; undefined when nothing has. */
  readonly peer: string | undefined;
  /** What npm is told, where the engine takes one version alone; else the peer. */
  readonly install?: string;
  /** Options that may stand behind the question mark. */
  readonly takes: readonly string[];
  readonly make: (module: never, url: string, prefix: string | undefined) => Engine;
}

type Factory<Options> = (options: Options) => Engine;
interface Addressed {
  readonly url: string;
  readonly prefix?: string;
}

interface EmbeddedAddress {
  readonly path: string;
  readonly share?: boolean;
}

const addressed = (url: string, prefix: string | undefined): Addressed => ({
  url,
  ...(prefix === undefined ? {} : { prefix }),
});

const EMBEDDED: Scheme = {
  module: '@doorbuster/messaging/engines/embedded',
  peer: undefined,
  takes: ['share'],
  make: (module: { createEmbeddedEngine: Factory<EmbeddedAddress> }, url) =>
    module.createEmbeddedEngine(fileOf(url)),
};
const RABBITMQ: Scheme = {
  module: '@doorbuster/messaging/engines/rabbitmq',
  peer: 'amqplib',
  takes: ['prefix', 'heartbeat', 'frameMax', 'channelMax', 'locale'],
  make: (module: { createRabbitEngine: Factory<Addressed> }, url, prefix) =>
    module.createRabbitEngine(addressed(url, prefix)),
};
const KAFKA: Scheme = {
  module: '@doorbuster/messaging/engines/kafka',
  peer: '@platformatic/kafka',
  install: '@platformatic/kafka@2.12.1',
  takes: ['prefix'],
  make: (module: { createKafkaEngine: Factory<Addressed> }, url, prefix) =>
    module.createKafkaEngine(addressed(url, prefix)),
};
const REDIS: Scheme = {
  module: '@doorbuster/messaging/engines/redis',
  peer: 'redis',
  takes: ['prefix'],
  make: (module: { createRedisEngine: Factory<Addressed> }, url, prefix) =>
    module.createRedisEngine(addressed(url, prefix)),
};
/** The server's own address is that of streams: for the others only the scheme tells which engine is meant. */
const REDIS_LISTS: Scheme = {
  module: '@doorbuster/messaging/engines/redis-lists',
  peer: 'redis',
  takes: ['prefix'],
  make: (module: { createRedisListsEngine: Factory<Addressed> }, url, prefix) =>
    module.createRedisListsEngine(addressed(url.replace('-lists:', ':'), prefix)),
};
const REDIS_PUBSUB: Scheme = {
  module: '@doorbuster/messaging/engines/redis-pubsub',
  peer: 'redis',
  takes: ['prefix'],
  make: (module: { createRedisBroadcastEngine: Factory<Addressed> }, url, prefix) =>
    module.createRedisBroadcastEngine(addressed(url.replace('-pubsub:', ':'), prefix)),
};

const SCHEMES: Readonly<Record<string, Scheme>> = {
  sqlite: EMBEDDED,
  amqp: RABBITMQ,
  amqps: RABBITMQ,
  kafka: KAFKA,
  redis: REDIS,
  rediss: REDIS,
  'redis-lists': REDIS_LISTS,
  'rediss-lists': REDIS_LISTS,
  'redis-pubsub': REDIS_PUBSUB,
  'rediss-pubsub': REDIS_PUBSUB,
};

/**
 * The engine of this URL, not connected yet. Rejects with DB_MSG_INVALID_OPTIONS for a scheme or an option that no engine has, and with
 * DB_MSG_PEER_MISSING, naming the package to install, when the engine's client is not there.
 */
export function engineFromUrl(url: string): Promise<Engine> {
  return engineLoadedBy((specifier) => import(specifier), url);
}

/** The same with the caller's way of loading a module: for tests. */
export async function engineLoadedBy(
  load: (specifier: string) => Promise<unknown>,
  url: string,
): Promise<Engine> {
  const name = /^([a-z-]+):/.exec(url)?.[1] ?? '';
  const scheme = Object.hasOwn(SCHEMES, name) ? SCHEMES[name] : undefined;
  if (!scheme)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `"${withoutSecret(url)}" names no engine: use one of ${Object.keys(SCHEMES)
        .map((one) => `${one}:`)
        .join(', ')}`,
    );
  refuseUnknownOptions(name, scheme.takes, url);
  const { address, prefix } = takePrefix(url);
  const module = await load(scheme.module).catch((cause: unknown) => {
    throw isMissingPackage(cause, scheme.peer ?? scheme.module)
      ? new MessagingError(
          'DB_MSG_PEER_MISSING',
          `${name}: needs the package "${scheme.peer ?? scheme.module}": npm install ${scheme.install ?? scheme.peer ?? '@doorbuster/messaging'}`,
          { cause },
        )
      : cause;
  });
  return scheme.make(module as never, address, prefix);
}

function refuseUnknownOptions(name: string, takes: readonly string[], url: string): void {
  const at = url.indexOf('?');
  const given = at < 0 ? [] : [...new URLSearchParams(url.slice(at + 1)).keys()];
  const unknown = given.find((one) => !takes.includes(one));
  const twice = given.find((one, index) => given.indexOf(one) !== index);
  const fault =
    (unknown !== undefined && `has no option "${unknown}"; it takes ${takes.join(', ')}`) ||
    (twice !== undefined && `has the option "${twice}" more than once`);
  if (fault) throw new MessagingError('DB_MSG_INVALID_OPTIONS', `the URL of ${name}: ${fault}`);
}

/** `sqlite:./bus.db`, `sqlite:///var/bus.db?share=true`. */
function fileOf(url: string): EmbeddedAddress {
  const { path, query } = readSqliteUrl(url);
  const bad = (detail: string): never => {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', detail);
  };
  if (path === '') bad('name the file: sqlite:./bus.db');
  if (query === '') return { path };
  if (query !== 'share=true') bad(`sqlite: takes ?share=true only, not "${query}"`);
  return { path, share: true };
}

function takePrefix(url: string): { readonly address: string; readonly prefix: string | undefined } {
  const at = url.indexOf('?');
  if (at < 0) return { address: url, prefix: undefined };
  const query = new URLSearchParams(url.slice(at + 1));
  const prefix = query.get('prefix') ?? undefined;
  query.delete('prefix');
  const rest = query.toString();
  return { address: rest === '' ? url.slice(0, at) : `${url.slice(0, at)}?${rest}`, prefix };
}
