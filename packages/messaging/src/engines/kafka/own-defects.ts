/**
 * Mistakes of this engine's own kind, each made for real somewhere: planted by replacing a method while a test runs, in this process and in a child's.
 * The suite and `kafka-cases.ts` have to catch every one; they are never part of the engine.
 */
import {
  Admin,
  Base,
  type CreateTopicsOptions,
  type DeleteGroupsOptions,
  kGetApi,
} from '@platformatic/kafka';
import { KafkaConnection } from './connection.ts';
import { DeadBook } from './dead-book.ts';
import { KeyLanes } from './key-lanes.ts';
import { Ledger } from './ledger.ts';
import { Link } from './link.ts';
import { Membership } from './membership.ts';
import { Moves } from './moves.ts';
import { LogSource } from './partition.ts';
import { ParcelProducer } from './produce-request.ts';
import { type Item, Publisher } from './publisher.ts';
import { Registry } from './registry.ts';
import { Replay } from './replay.ts';
import { TakenBack } from './taken-back.ts';
import { Takeover } from './takeover.ts';
import { TopologyBook } from './topology.ts';
import { Needs } from './trim.ts';
import type { CopyNote } from './wire.ts';

type Undo = () => void;

/** No mistake but bad luck: the copy of a retried message is read before its confirm arrives. `settled` is awaited in between. */
export function confirmRetriesLate(settled: () => Promise<unknown>): Undo {
  return replace(
    Moves.prototype,
    'retried',
    (original) =>
      async function (this: Moves, retried) {
        await original.call(this, retried);
        if (retried.length > 0) await settled();
      },
  );
}

/** Nor is this one: redrives have written as many batches of copies before any of them comes to end its letters. */
export function endLettersLate(batches: number): { readonly begin: () => void; readonly end: Undo } {
  const all = Promise.withResolvers<void>();
  let left = batches;
  let undo: Undo = () => {};
  const begin = (): void => {
    undo = replace(
      Publisher.prototype,
      'send',
      (original) =>
        async function (this: Publisher, topic: string, items: readonly Item[]) {
          if (topic.endsWith('-D')) await all.promise;
          const offsets = await original.call(this, topic, items);
          if (topic.endsWith('-L') && (left -= 1) === 0) all.resolve();
          return offsets;
        },
    );
  };
  return {
    begin,
    end() {
      all.resolve();
      undo();
    },
  };
}

/** A mistake that only a broker that is killed brings to light: what is published on this channel counts as stored when it is sent. */
export function confirmEarly(channel: string): Undo {
  return replace(
    Publisher.prototype,
    'send',
    (original) =>
      function (this: Publisher, topic: string, items: readonly Item[]) {
        const sent = original.call(this, topic, items);
        if (!topic.endsWith(channel)) return sent;
        void sent.catch(() => {});
        return new Promise((resolve) => setImmediate(() => resolve(items.map(() => 0))));
      },
  );
}

/** Seen where followers stand still: what is published under this prefix is confirmed when its leader has it (`acks=1`, which no idempotent producer may ask for). */
export function confirmByLeader(prefix: string): Undo {
  return replace(ParcelProducer.prototype, 'send', (original) => {
    const send = original as (...given: readonly unknown[]) => unknown;
    return function (
      this: ParcelProducer,
      options: { readonly messages: readonly { readonly topic: string }[] },
    ) {
      const isMine = options.messages.every(({ topic }) => topic.startsWith(prefix));
      return send.call(this, isMine ? { ...options, acks: 1, idempotent: false } : options);
    } as typeof original;
  });
}

/** Another of them: who leads the partitions of the topics with this prefix is asked once, and whoever it was is asked for ever. */
export function askLeadersOnce(prefix: string): Undo {
  const known = new Map<string, number>();
  return replace(
    Link.prototype,
    'leaderOf',
    (original) =>
      async function (this: Link, topic: string, partition: number, fresh?: boolean) {
        const place = `${topic}/${partition}`;
        const leader = known.get(place) ?? (await original.call(this, topic, partition, fresh));
        if (topic.startsWith(prefix)) known.set(place, leader);
        return leader;
      },
  );
}

export const ownDefects = {
  /** The group begins behind its own log, whatever waits there. */
  'a rewind leaves behind what waits beside the log': () =>
    replace(
      Replay.prototype,
      'rewind',
      (original) =>
        async function (this: Replay, ...given) {
          const undo = replace(Publisher.prototype, 'send', () => async () => []);
          try {
            await original.apply(this, given);
          } finally {
            undo();
          }
        },
    ),
  /** What waits comes twice when the rewind is killed between copying and committing. */
  'a copy of a rewind is handed out beside what it stands for': () =>
    replace(Ledger.prototype, 'hasRead', () => () => false),
  /** And twice when it is repeated then. */
  'a rewind copies the copies of one that was killed': () =>
    replace(
      Publisher.prototype,
      'send',
      (original) =>
        function (this: Publisher, topic: string, items: readonly Item[]) {
          const nameless = items.map(({ partition, parcel }) => ({
            partition,
            parcel: { ...parcel, headers: parcel.headers.filter(([name]) => name !== 'db-kept') },
          }));
          return original.call(this, topic, nameless);
        },
    ),
  /** What is still out below it is lost with its holder. */
  'the highest offset is committed': () =>
    replace(
      Ledger.prototype,
      'encode',
      (original) =>
        function (this: Ledger, ...given) {
          return { ...original.apply(this, given), watermark: this.position, text: '' };
        },
    ),
  'a hand-out is not written down': () =>
    replace(
      Ledger.prototype,
      'encode',
      (original) =>
        function (this: Ledger, ...given) {
          const { watermark, text, marks } = original.apply(this, given);
          const parts = text.split('|');
          parts[3] = '';
          return { watermark, text: parts.join('|'), marks };
        },
    ),
  'the key does not choose the partition': () => {
    let turn = 0;
    return replace(
      Publisher.prototype,
      'send',
      (original) =>
        function (this: Publisher, topic: string, items: readonly Item[]) {
          const isChannel = !/-[LDR]$/.test(topic);
          const spread = items.map((item) => (isChannel ? { ...item, partition: turn++ % 3 } : item));
          return original.call(this, topic, spread);
        },
    );
  },
  /** The session ends under a handler, and somebody else gets what it holds. */
  'no group heartbeat while a handler works': () =>
    replace(Base.prototype, kGetApi, (original) => {
      const silent = ((...given: unknown[]) => {
        const [name, done] = given as [string, (error: null, api: unknown) => void];
        if (name === 'Heartbeat') done(null, () => {});
      }) as typeof original;
      return function (this: Base, ...given: unknown[]) {
        const called = (given[0] === 'Heartbeat' ? silent : original) as (...all: unknown[]) => void;
        called.apply(this, given);
      } as typeof original;
    }),
  /** What it had waits for its session to end. */
  'a member has another name each time': () => renamed(),
  /** Its letter is there beside what the next owner made of the message. */
  'a member that hung does not ask whether it still is one': () =>
    replace(Membership.prototype, 'makeSure', () => async () => {}),
  /** Two processes by one name put each other out for ever. */
  'a displaced member takes its name back': () =>
    replace(Takeover.prototype, 'holderOf', () => async () => undefined),
  /** Its key stands still until the process ends. */
  'a copy that came before its confirm is waited for': () =>
    replace(KeyLanes.prototype, 'hasOther', () => () => false),
  /** It settles the message whose place that is in the channel's log. */
  'a copy without a place takes the one it has in its own log': () =>
    replace(
      LogSource.prototype,
      'rankOf',
      () =>
        (offset: number, { rank }: CopyNote) =>
          rank ?? offset,
    ),
  'redrive forgets the sequence': () =>
    replace(
      DeadBook.prototype,
      'letters',
      (original) =>
        function (this: DeadBook) {
          return original.call(this).map((letter) => ({ ...letter, inLane: false }));
        },
    ),
  /** As where a delay has a topic of its own and messages are sorted into it by their first. */
  'what is not due holds up what lies behind it': () => {
    const sound = Object.getOwnPropertyDescriptor(LogSource.prototype, 'wantsMore') as PropertyDescriptor;
    const setGetter = (descriptor: PropertyDescriptor): void =>
      void Object.defineProperty(LogSource.prototype, 'wantsMore', descriptor);
    setGetter({
      configurable: true,
      get(this: LogSource) {
        const waits = this.kind === 'later' && [...this.entries].some(({ cancelTimer }) => cancelTimer);
        return !waits && sound.get?.call(this);
      },
    });
    return () => setGetter(sound);
  },
  'a retry is rounded up to a minute': () =>
    replace(
      Moves.prototype,
      'retried',
      (original) =>
        function (this: Moves, retried) {
          const late = retried.map(
            ([one, entry]) => [{ ...one, dueAt: Math.ceil(one.dueAt / 60_000 + 1) * 60_000 }, entry] as const,
          );
          return original.call(this, late);
        },
    ),
  'a log is trimmed by the fastest subscription': () =>
    replace(
      Needs.prototype,
      'freeBefore',
      () =>
        function (this: Needs, place: string) {
          return this.of(place).reduce((a, b) => Math.max(a, b), 0);
        },
    ),
  'records that were deleted are passed over in silence': () =>
    replace(
      Ledger.prototype,
      'lose',
      (original) =>
        function (this: Ledger, before: number) {
          original.call(this, before);
          return 0;
        },
    ),
  /** To the broker it is one more value: the key never ends. */
  'the end of a key is written as a value': () =>
    replace(
      Publisher.prototype,
      'send',
      (original) =>
        function (this: Publisher, topic: string, items: readonly Item[]) {
          const isChannel = !/-[LDR]$/.test(topic);
          const filled = items.map((item) =>
            isChannel && item.parcel.value === undefined
              ? { ...item, parcel: { ...item.parcel, value: Buffer.from('null') } }
              : item,
          );
          return original.call(this, topic, filled);
        },
    ),
  'the ends of dead letters are not read': () =>
    replace(
      DeadBook.prototype,
      'apply',
      (original) =>
        function (this: DeadBook, partition, records, next) {
          original.call(
            this,
            partition,
            records.filter(({ value }) => value !== null),
            next,
          );
        },
    ),
  /** The next owner begins with what the former one still works at. */
  'a member joins anew with handlers at work': () =>
    replace(Membership.prototype, 'letGo', () => async () => {}),
  'a second copy of a letter is taken back again': () =>
    replace(TakenBack.prototype, 'isFirst', () => () => true),
  'only the redrive ends its letters': () => replace(Moves.prototype, 'endLetters', () => async () => {}),
  'a dead letter does not hold its key': () => replace(DeadBook.prototype, 'heldFrom', () => () => undefined),
  'what a new topic would get speaks for one that is there': () =>
    replace(TopologyBook.prototype, 'standing', () => async () => new Map()),
  'only the first topic of a channel is asked': () =>
    replace(
      TopologyBook.prototype,
      'standing',
      (original) =>
        function (this: TopologyBook, channels) {
          return original.call(
            this,
            channels.map((spec) => ({ ...spec, priorityLevels: 1 })),
          );
        },
    ),
  'a confirmation states what the options ask of new topics': () =>
    replace(
      KafkaConnection.prototype,
      'publish',
      (original) =>
        async function (this: KafkaConnection, batch) {
          const durability = this.capabilities.confirm;
          return (await original.call(this, batch)).map((one) => ({ ...one, durability }));
        },
    ),
  /** It takes nothing, and everything is settled as unwanted. */
  'what is no record of bindings binds nothing': () =>
    replace(
      Registry.prototype,
      'bindingsOf',
      (original) =>
        function (this: Registry, name) {
          return this.isUnreadable(name) ? [] : original.call(this, name);
        },
    ),
  'what was forgotten here is passed over for good': () =>
    replace(TopologyBook.prototype, 'isAnew', () => async () => false),
  'what waits is deleted before the group is known to be empty': () =>
    replace(
      Admin.prototype,
      'deleteGroups',
      (original) =>
        async function (this: Admin, options: DeleteGroupsOptions) {
          await this.deleteTopics({ topics: options.groups.map((group) => `${group}-L`) }).catch(() => {});
          return original.call(this, options);
        } as Admin['deleteGroups'],
    ),
  'topics are made without the sync that is stated': () =>
    replace(
      Admin.prototype,
      'createTopics',
      (original) =>
        function (this: Admin, options: CreateTopicsOptions) {
          const configs = options.configs?.filter(({ name }) => name !== 'flush.messages') ?? [];
          return original.call(this, { ...options, configs });
        } as Admin['createTopics'],
    ),
} as const satisfies Record<string, () => Undo>;

export type OwnDefect = keyof typeof ownDefects;

export function plantOwn(defect: OwnDefect): Undo {
  return ownDefects[defect]();
}

/** Where the name stands among the arguments of what a member asks. */
const NAME_AT: Readonly<Record<string, number>> = {
  JoinGroup: 5,
  SyncGroup: 4,
  Heartbeat: 4,
  OffsetCommit: 4,
};
type Send = (...given: unknown[]) => void;

function renamed(): Undo {
  return replace(Base.prototype, kGetApi, (original) => {
    const ask = original as Send;
    return function (this: Base, api: string, done: (error: unknown, send: Send) => void) {
      ask.call(this, api, (error: unknown, send: Send) => {
        const at = NAME_AT[api];
        done(error, at === undefined || !send ? send : Object.assign(otherName(send, at), send));
      });
    } as typeof original;
  });
}

function otherName(send: Send, at: number): Send {
  return (...given) => {
    const name = given[at];
    send(...given.with(at, typeof name === 'string' ? `${name}-${process.pid}` : name));
  };
}

export function replace<T extends object, K extends keyof T>(
  target: T,
  name: K,
  make: (original: T[K]) => T[K],
): Undo {
  const original = target[name];
  target[name] = make(original);
  return () => {
    target[name] = original;
  };
}
