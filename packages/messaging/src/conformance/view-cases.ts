/**
 * What an engine shows people of its subscriptions: every message in one count, in the right one, and the age of the one that waits longest. What an engine does not see it says
 * (`partial`, or `scheduled` undefined), and then it is held to saying nothing wrong: less than there is, never more.
 */
import assert from 'node:assert/strict';
import type { Bus } from '../bus.ts';
import type { Channel } from '../channel.ts';
import { pause, systemClock } from '../clock.ts';
import type { ChannelView, SubscriptionView } from '../engine.ts';
import { ack, deadLetter, type Outcome, retry } from '../outcome.ts';
import { delayed, plain, sequenced } from './channels.ts';
import { Collector, eventually, numbers, settleIn, signal, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

/** Longer than any case takes. */
const LATER_MS = 60_000;
/** Between the oldest message and the next one, ms. An age that is not the oldest one's is wrong by as much. */
const APART_MS = 300;
/** Clocks of a server on the same machine may be read a while before they are used. */
const SLACK_MS = 100;

interface Look {
  readonly channel: ChannelView;
  readonly one: SubscriptionView;
}

/** The first look at the subscription that is as it should be; fails with the last one that was not. */
function seen(
  bus: Bus,
  { name }: Channel,
  subscription: string,
  isRight: (look: Look) => boolean,
  what: string,
): Promise<Look> {
  const look = async (): Promise<Look | undefined> => {
    const channel = (await bus.view()).channels.find((each) => each.name === name);
    const one = channel?.subscriptions.find((each) => each.name === subscription);
    return channel && one && { channel, one };
  };
  return eventually(look, (found) => found !== undefined && isRight(found), what) as Promise<Look>;
}

const publishNumbers = (bus: Bus, ...given: number[]): Promise<unknown> =>
  bus.publishBatch(
    plain,
    given.map((n) => ({ data: { n } })),
  );

/** Handlers that wait: those of a number until it is let go, all of them once the case is over. */
class Gates {
  readonly begun = new Collector<number>();
  readonly #gates = new Map<number, ReturnType<typeof signal>>();

  readonly handler = async ({ data }: { readonly data: { readonly n: number } }): Promise<Outcome> => {
    this.begun.add(data.n);
    await this.#of(data.n).fired;
    return ack();
  };

  open(...given: readonly number[]): void {
    for (const n of given) this.#of(n).fire();
  }

  #of(n: number): ReturnType<typeof signal> {
    const gate = this.#gates.get(n) ?? signal();
    this.#gates.set(n, gate);
    return gate;
  }
}

async function waitsAndIsOut(bus: Bus): Promise<void> {
  const gates = new Gates();
  try {
    // One handler, so two may be out: the one it has and the next.
    await bus.subscribe(plain, { name: 'one', concurrency: 1, handler: gates.handler }).started;
    await publishNumbers(bus, ...numbers(1, 5));
    const { one } = await seen(
      bus,
      plain,
      'one',
      ({ one: { inFlight, ready } }) => inFlight === 2 && ready === 3,
      'two out and three ready',
    );
    const { delayed: putOff, waitingForKey, deadLetters, expired, consumers } = one;
    assert.deepEqual(
      { putOff, waitingForKey, deadLetters, expired, consumers },
      { putOff: 0, waitingForKey: 0, deadLetters: [], expired: 0, consumers: 1 },
    );
    gates.open(1, 2, 3, 4, 5);
    const none = ({ one: { inFlight, ready, oldestAgeMs } }: Look): boolean =>
      inFlight + ready === 0 && oldestAgeMs === undefined;
    await seen(bus, plain, 'one', none, 'nothing left, and so no age');
  } finally {
    gates.open(1, 2, 3, 4, 5);
  }
}

/** `since`: between which two readings of the clock the message was published whose age it has to be. */
async function hasAgeOf(bus: Bus, since: readonly [number, number], what: string): Promise<void> {
  const before = systemClock.now();
  const { one } = await seen(bus, plain, 'one', () => true, what);
  const after = systemClock.now();
  const { oldestAgeMs: age, partial = [] } = one;
  const mayBeYounger = partial.includes('oldestAgeMs');
  if (age === undefined && mayBeYounger) return;
  const [least, most] = [before - since[1] - SLACK_MS, after - since[0] + SLACK_MS];
  assert.ok(
    age !== undefined && age <= most && (mayBeYounger || age >= least),
    `${what}: ${age} ms is not from ${least} to ${most}`,
  );
}

async function ageOfTheOldest(bus: Bus): Promise<void> {
  await settleIn(bus.subscribe(plain, { name: 'one', handler: () => ack() }));
  const publish = async (...given: number[]): Promise<readonly [number, number]> => {
    const before = systemClock.now();
    await publishNumbers(bus, ...given);
    return [before, systemClock.now()];
  };
  const first = await publish(1);
  await pause(systemClock, APART_MS);
  // Two may be out, so the third waits while the first is.
  const second = await publish(2, 3);
  await hasAgeOf(bus, first, 'while all wait');
  const gates = new Gates();
  try {
    await bus.subscribe(plain, { name: 'one', concurrency: 1, handler: gates.handler }).started;
    await gates.begun.waitFor(1);
    await hasAgeOf(bus, first, 'while the oldest is out');
    gates.open(1);
    await gates.begun.waitFor(2);
    const isSecond = ({ one: { inFlight, ready, oldestAgeMs } }: Look): boolean =>
      inFlight + ready === 2 && (oldestAgeMs ?? 0) <= systemClock.now() - second[0] + SLACK_MS;
    await seen(bus, plain, 'one', isSecond, 'the age of the second, when the first is settled');
    await hasAgeOf(bus, second, 'when the oldest is settled');
  } finally {
    gates.open(1, 2, 3);
  }
}

export const viewCases: readonly ConformanceCase[] = [
  {
    name: 'the view shows what waits and what is out, and nothing of what is settled',
    run: (fixture) => withBus({ fixture, channels: [plain], use: waitsAndIsOut }),
  },
  {
    name: 'the view shows the age of the oldest message, be it out or waiting',
    run: (fixture) => withBus({ fixture, channels: [plain], use: ageOfTheOldest }),
  },
  {
    name: 'the view shows each subscription by itself',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await settleIn(bus.subscribe(plain, { name: 'away', handler: () => ack() }));
          const got = new Collector<number>();
          await bus.subscribe(plain, {
            name: 'here',
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          }).started;
          await publishNumbers(bus, 1, 2, 3);
          await got.waitFor(3);
          const counts = (ready: number) => (look: Look) =>
            look.one.ready === ready && look.one.inFlight === 0;
          await seen(bus, plain, 'away', counts(3), 'three that wait for who is away');
          await seen(bus, plain, 'here', counts(0), 'none that wait for who is here');
        },
      }),
  },
  {
    name: 'the view shows a message that waits for its next attempt as delayed',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const tried = signal();
          await bus.subscribe(plain, {
            name: 'one',
            handler: () => {
              tried.fire();
              return retry({ delayMs: LATER_MS });
            },
          }).started;
          await publishNumbers(bus, 1);
          await tried.fired;
          await seen(bus, plain, 'one', isPutOff, 'one delayed, or not seen at all');
        },
      }),
  },
  {
    name: 'the view shows a message that was published with a delay as scheduled or as delayed',
    unless: ({ delay }) => (delay.support === 'none' ? 'the engine has no delay' : undefined),
    run: (fixture) =>
      withBus({
        fixture,
        channels: [delayed],
        async use(bus) {
          await bus.subscribe(delayed, { name: 'one', handler: () => ack() }).started;
          await bus.publish(delayed, { n: 1 }, { delayMs: LATER_MS });
          const isScheduled = (look: Look): boolean =>
            look.channel.scheduled === undefined
              ? isPutOff(look)
              : look.channel.scheduled === 1 && look.one.ready + look.one.delayed === 0;
          await seen(bus, delayed, 'one', isScheduled, 'one scheduled, delayed, or not seen at all');
        },
      }),
  },
  {
    name: 'the view counts dead letters by group, until they are gone',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await bus.subscribe(plain, {
            name: 'one',
            handler: ({ data }) => deadLetter(data.n > 2 ? 'no such address' : 'out of stock'),
          }).started;
          await publishNumbers(bus, 1, 2, 3);
          const total = (count: number) => (look: Look) =>
            look.one.deadLetters.reduce((sum, one) => sum + one.count, 0) === count;
          const { one } = await seen(bus, plain, 'one', total(3), 'three dead letters');
          const group = 'deadLetter: out of stock';
          const other = { group: 'deadLetter: no such address', count: 1 };
          assert.deepEqual(
            one.deadLetters.toSorted((a, b) => b.count - a.count),
            [{ group, count: 2 }, other],
          );
          await bus.deadLetters.discard({ group });
          const left = await seen(bus, plain, 'one', total(1), 'one dead letter left');
          assert.deepEqual(left.one.deadLetters, [other]);
        },
      }),
  },
  {
    name: 'the view counts what waits behind its key once',
    unless: ({ orderPerKey }) => (orderPerKey === 'none' ? 'the engine has no order per key' : undefined),
    run: (fixture) =>
      withBus({
        fixture,
        channels: [sequenced],
        async use(bus) {
          const gates = new Gates();
          try {
            await bus.subscribe(sequenced, { name: 'one', concurrency: 4, handler: gates.handler }).started;
            await bus.publishBatch(
              sequenced,
              numbers(1, 4).map((n) => ({ data: { n }, options: { key: n === 4 ? 'b' : 'a' } })),
            );
            await gates.begun.waitFor(2);
            // What a consumer has read ahead of its key may count as out already.
            const isRight = ({ one: { inFlight, ready, waitingForKey } }: Look): boolean =>
              inFlight >= 2 && inFlight + ready + waitingForKey === 4;
            await seen(bus, sequenced, 'one', isRight, 'one of each key out, two behind, none twice');
          } finally {
            gates.open(1, 2, 3, 4);
          }
        },
      }),
  },
];

/** Where an engine does not see all that is put off, it may not be shown: but not as ready either. */
function isPutOff({ one: { ready, delayed: putOff, inFlight, partial = [] } }: Look): boolean {
  return ready + inFlight === 0 && (putOff === 1 || (putOff === 0 && partial.includes('delayed')));
}
