/**
 * A process of the long run: publishes, or handles, or both (an embedded engine that is not shared belongs to one process). It is started with its
 * options as JSON and says when it is ready, nothing else: what it did stands in the ledger. Handlers are killed without warning; SIGTERM ends any of them in order.
 *
 * A message's id is its number, so that a publisher that starts again repeats what it is unsure of with the same ids. It stays at most `lead` ahead of
 * the handlers, or a broker would keep a million messages in memory and the run would measure that.
 */
import {
  ack,
  type Bus,
  type Channel,
  createBus,
  defineChannel,
  type Engine,
  type Message,
  pause,
  systemClock,
} from '@doorbuster/messaging';
import type { TInteger, TObject } from 'typebox';
import { keepsOrder, type SoakEngine } from './engines.ts';
import { Ledger } from './ledger.ts';
import { stoppingWhereItHarms } from './placed-kill.ts';

export type Mode = 'inbox' | 'without-inbox' | 'acknowledge-first' | 'work-later';

/** The defects that an inbox would hide have none. */
export const hasInbox = (mode: Mode): boolean => mode === 'inbox' || mode === 'work-later';

export interface PartOptions {
  readonly engine: SoakEngine;
  readonly url: string;
  readonly prefix: string;
  /** Of the embedded engine. */
  readonly path: string;
  readonly shared: boolean;
  readonly ledger: string;
  readonly roles: readonly ('publish' | 'handle')[];
  readonly mode: Mode;
  /** It stops where the defect of its mode does harm, says so and waits to be killed (placed-kill.ts). */
  readonly placed: boolean;
  readonly worker: number;
  /** What takes the place of a killed process goes by its name, as under a supervisor. */
  readonly name: string;
  /** Subscriptions side by side in this process. */
  readonly consumers: number;
}

interface KafkaOptions {
  readonly url: string;
  readonly prefix: string;
  readonly memberName: string;
  readonly sessionTimeoutMs: number;
}

export const keys = 2_000;
export const channelName = 'soak.ticks';
export const subscriptionName = 'soak';
export const lead = 20_000;
const publishTogether = 500;
const handleTogether = 100;
/** A killed process's messages come again after it where nothing else tells of its end. */
const leaseMs = 3_000;
/** The killer is outside: a message that was out at many ends is no poison here. */
const endsSurvived = 1_000;
const mostStarts = 20;
const kafkaSessionMs = 6_000;
/** So long acknowledgements may take that have to be with the server before a kill. */
const placedDrainMs = 20_000;

export type Tick = Message<{ n: number; key: number }>;

/** As typebox makes it: loading that library would be an eighth of a worker's start. */
const schema = {
  type: 'object',
  required: ['n', 'key'],
  properties: { n: { type: 'integer' }, key: { type: 'integer' } },
} as unknown as TObject<{ n: TInteger; key: TInteger }>;

const contract = { name: channelName, version: 1, schema };

/** What is published is the same on all of them, also the keys. */
const ticksOn = (engine: SoakEngine): Channel<typeof contract> =>
  keepsOrder(engine)
    ? defineChannel({ ...contract, order: 'key', requires: { emulation: ['order'] } })
    : defineChannel(contract);

export async function engineOf({ engine, url, prefix, path, shared, name }: PartOptions): Promise<Engine> {
  switch (engine) {
    case 'embedded': {
      const { createEmbeddedEngine } = await import('@doorbuster/messaging/engines/embedded');
      const options = shared ? { path, share: true } : { path };
      return createEmbeddedEngine(options);
    }
    case 'rabbitmq': {
      const { createRabbitEngine } = await import('@doorbuster/messaging/engines/rabbitmq');
      return createRabbitEngine({ url, prefix });
    }
    case 'redis': {
      const { createRedisEngine } = await import('@doorbuster/messaging/engines/redis');
      return createRedisEngine({ url, prefix });
    }
    case 'redis-lists': {
      const { createRedisListsEngine } = await import('@doorbuster/messaging/engines/redis-lists');
      return createRedisListsEngine({ url, prefix });
    }
    case 'kafka': {
      // By a name that the compiler does not follow: this also runs where the engine is not part of the package yet.
      const module: string = '@doorbuster/messaging/engines/kafka';
      const { createKafkaEngine } = (await import(module)) as {
        createKafkaEngine: (options: KafkaOptions) => Engine;
      };
      return createKafkaEngine({ url, prefix, memberName: name, sessionTimeoutMs: kafkaSessionMs });
    }
  }
}

/** What the engine says of the subscription, for a run that came to a stand. */
export async function stateOf(options: PartOptions): Promise<string> {
  const bus = createBus({ engine: await engineOf(options), source: '/soak' });
  bus.declare([ticksOn(options.engine)]);
  await bus.start();
  const { channels } = await bus.view();
  const letters = await bus.deadLetters.list();
  await bus.stop();
  return JSON.stringify({ channels, letters: letters.slice(0, 2) });
}

const idOf = (prefix: string, n: number): string => `${prefix}${String(n).padStart(9, '0')}`;

async function main(options: PartOptions): Promise<void> {
  const ledger = new Ledger(options.ledger);
  const bus = await startedBus(ledger, options);
  process.once('SIGTERM', () => {
    void bus.stop({ drainMs: 3_000 }).then(() => process.exit(0));
  });
  process.once('disconnect', () => process.exit(0));
  // From here on it may be killed.
  process.send?.('ready');
  if (options.roles.includes('publish')) await publishAll(bus, ledger, options);
}

/** A start that was refused for the moment (a server that is busy with the one that was killed) is tried again, as a program under a supervisor is. */
async function startedBus(ledger: Ledger, options: PartOptions): Promise<Bus> {
  const ticks = ticksOn(options.engine);
  for (let left = mostStarts; ; left -= 1) {
    const bus = createBus({ engine: await engineOf(options), source: '/soak' });
    bus.declare([ticks]);
    const handles = options.roles.includes('handle');
    for (let index = 0; index < (handles ? options.consumers : 0); index += 1)
      bus.subscribe(ticks, {
        name: subscriptionName,
        leaseMs,
        batch: { max: handleTogether },
        retries: { abandoned: endsSurvived },
        handler: handlerOf(ledger, bus, options),
      });
    // The subscription has to be there before the first message is. A publisher that starts again must take nothing of what waits.
    const isThere = handles || ledger.confirmed() > 0;
    const first = isThere ? null : bus.subscribe(ticks, { name: subscriptionName, handler: () => ack() });
    try {
      await bus.start();
      await first?.stop();
      return bus;
    } catch (error) {
      if ((error as { retryable?: boolean }).retryable !== true || left === 0) throw error;
      await pause(systemClock, 200);
    }
  }
}

function handlerOf(ledger: Ledger, bus: Bus, { mode, worker, placed }: PartOptions) {
  const inbox = hasInbox(mode);
  const record = (messages: readonly Tick[]): void =>
    ledger.record(
      messages.map(({ id, data }) => ({ messageId: id, ...data })),
      { worker, inbox, now: systemClock.now() },
    );
  if (placed) return stoppingWhereItHarms(mode, record, () => bus.stop({ drainMs: placedDrainMs }));
  return (messages: readonly Tick[]) => {
    // The defect of the second control: the work is done when the acknowledgement is already on its way.
    if (mode === 'acknowledge-first') void pause(systemClock, 20).then(() => record(messages));
    else record(messages);
    return messages.map(() => ack());
  };
}

async function publishAll(bus: Bus, ledger: Ledger, { engine, prefix }: PartOptions): Promise<void> {
  const ticks = ticksOn(engine);
  let next = ledger.confirmed();
  // A run that has met too few kills goes on (kill-floor.ts), so it is never known to be done.
  for (;;) {
    const total = ledger.total();
    if (next >= total || next - ledger.effects() > lead) {
      await pause(systemClock, 10);
      continue;
    }
    const end = Math.min(total, next + publishTogether);
    const items = Array.from({ length: end - next }, (_, index) => {
      const n = next + index;
      const key = n % keys;
      return { data: { n, key }, options: { key: String(key), id: idOf(prefix, n) } };
    });
    try {
      await bus.publishBatch(ticks, items);
    } catch (error) {
      // It was told to end in the middle of it.
      if ((error as { code?: string }).code === 'DB_MSG_STOPPED') return;
      if ((error as { retryable?: boolean }).retryable !== true) throw error;
      await pause(systemClock, 100);
      continue;
    }
    ledger.confirm(end);
    next = end;
  }
}

if (import.meta.main) await main(JSON.parse(process.argv[2] ?? '{}') as PartOptions);
