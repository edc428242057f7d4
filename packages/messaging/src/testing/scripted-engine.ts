/**
 * An engine that does nothing by itself: a test hands messages out, says what each call answers, and sees what the bus asked. For failures that
 * no real server can be brought to on demand.
 */
import type {
  Consumer,
  ConsumerSpec,
  Delivery,
  DeliveryToken,
  Engine,
  EngineConnection,
  OutgoingMessage,
  Settlement,
  SettleResult,
  Topology,
} from '../engine.ts';
import type { Message } from '../message.ts';
import { type CancelTimer, type Clock, systemClock } from '../clock.ts';

const capabilities: EngineConnection['capabilities'] = {
  version: '0',
  confirm: 'disk',
  orderPerKey: 'native',
  delay: { support: 'native', maxMs: 1e9, resolutionMs: 1 },
  priority: { support: 'native', levels: 10 },
  ttl: { support: 'native', granularity: 'message' },
  replay: 'none',
  routing: { direct: 'native', fanout: 'native', topic: 'native', headers: 'native' },
  broadcast: 'none',
  deadLetters: 'native',
  processes: 'many',
  maxMessageBytes: 2 ** 20,
};

/** What a call does instead of nothing. */
export interface Script {
  connect?: () => Promise<void>;
  declare?: (topology: Topology) => Promise<void>;
  /** It may hand out before it resolves, as engines do. */
  subscribe?: (spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void) => Promise<void>;
  settle?: (settlements: readonly Settlement[]) => Promise<readonly SettleResult[]>;
  pause?: () => Promise<void>;
  leave?: () => Promise<void>;
  close?: () => Promise<void>;
}

export interface ScriptedEngine extends Engine {
  /** One subscription's way in; there when it was subscribed. */
  hand(subscription: string, ...deliveries: readonly Delivery[]): void;
  /** Fails for good. */
  fail(error: Error): void;
  readonly declared: Topology[];
  readonly subscribed: string[];
  readonly published: OutgoingMessage[];
  readonly settled: Settlement[];
  readonly extended: DeliveryToken[];
  /** Calls of `pause` and `close`, of consumers and of the connection. */
  readonly ended: string[];
}

export function createScriptedEngine(script: Script = {}): ScriptedEngine {
  const ways = new Map<string, (deliveries: readonly Delivery[]) => void>();
  const fatal: ((error: Error) => void)[] = [];
  const seen = {
    declared: [] as Topology[],
    subscribed: [] as string[],
    published: [] as OutgoingMessage[],
    settled: [] as Settlement[],
    extended: [] as DeliveryToken[],
    ended: [] as string[],
  };
  const consumer: Consumer = {
    async settle(settlements) {
      seen.settled.push(...settlements);
      return script.settle?.(settlements) ?? settlements.map(() => 'settled');
    },
    async extend(tokens) {
      seen.extended.push(...tokens);
      return tokens.map(() => 'settled');
    },
    async pause() {
      seen.ended.push('pause');
      await script.pause?.();
    },
    async close() {
      seen.ended.push('leave');
      await script.leave?.();
    },
  };
  const connection = {
    capabilities,
    async declare(topology: Topology) {
      seen.declared.push(topology);
      await script.declare?.(topology);
    },
    async publish(batch: readonly OutgoingMessage[]) {
      seen.published.push(...batch);
      return batch.map(({ message: { id } }) => ({ id, durability: 'disk' as const, confirmedAt: 0 }));
    },
    async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void) {
      await script.subscribe?.(spec, receive);
      seen.subscribed.push(spec.subscription);
      ways.set(spec.subscription, receive);
      return consumer;
    },
    inspect: async () => ({ engine: 'scripted', channels: [], storedBytes: undefined }),
    async close() {
      seen.ended.push('close');
      await script.close?.();
    },
  } as Partial<EngineConnection> as EngineConnection;
  return {
    ...seen,
    name: 'scripted',
    async connect({ onFatal }) {
      fatal.push(onFatal);
      await script.connect?.();
      return connection;
    },
    hand: (subscription, ...deliveries) => ways.get(subscription)?.(deliveries),
    fail: (error) => fatal.at(-1)?.(error),
  };
}

/** One that comes for the first time unless `change` says otherwise. */
export function deliveryOf(
  token: number,
  message: Partial<Message> & Pick<Message, 'type'>,
  change: Partial<Delivery> = {},
): Delivery {
  const whole: Message = {
    id: `m-${token}`,
    version: 1,
    source: '/t',
    time: '2026-01-01T00:00:00.000Z',
    data: { n: token },
    headers: {},
    ...message,
  };
  return { token, message: whole, raw: '', state: undefined, abandoned: 0, ...change };
}

/** The real clock, and how many of its timers are waiting: none may be left when a bus has ended. */
export function createCountingClock(): Clock & { readonly waiting: () => number } {
  const waiting = new Set<object>();
  return {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic(),
    setTimer(ms, fn): CancelTimer {
      const timer = {};
      waiting.add(timer);
      const cancel = systemClock.setTimer(ms, () => {
        waiting.delete(timer);
        fn();
      });
      return () => {
        waiting.delete(timer);
        cancel();
      };
    },
    waiting: () => waiting.size,
  };
}
