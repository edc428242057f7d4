/** A consumer against a broker that answers when the test says so: what comes in the middle of an opening or of a close. */
import { describe, expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import type { ChannelSpec, Delivery } from '../../engine.ts';
import { RabbitConsumer } from './consumer.ts';
import type { MemberHint } from './members.ts';
import type { QueueNotes } from './notes.ts';
import type { HeldKeys } from './placeholders.ts';
import type { Parcel } from './wire.ts';
import { createFakeModel, type FakeChannel, type FakeModel, settled } from './testing/fake-model.ts';

const unordered: ChannelSpec = {
  name: 'orders',
  order: 'none',
  onFailure: 'skip',
  priorityLevels: 1,
  ephemeral: false,
  routing: 'fanout',
  keepMs: undefined,
};
const keyed: ChannelSpec = { ...unordered, order: 'key', onFailure: 'blockKey' };

interface Steps {
  readonly leaveWill?: () => Promise<void>;
  readonly notes?: QueueNotes;
  readonly publishLater?: (copy: Parcel) => void;
  readonly heldKeys?: () => Promise<HeldKeys>;
}

function consumerOf(channelSpec: ChannelSpec, steps: Steps = {}) {
  const clock = createManualClock();
  const told: MemberHint[] = [];
  const got: Delivery[] = [];
  const lost: string[] = [];
  let token = 1;
  const consumer = new RabbitConsumer(
    {
      clock,
      spec: { channel: 'orders', subscription: 'one', prefetch: 10, leaseMs: 30_000 },
      channelSpec,
      queues: ['queue'],
      deadQueue: 'dead',
      deadLetterExchange: undefined,
      notesOf: () => steps.notes,
      publish: async () => {},
      publishLater: async (_queue, _delayMs, copy) => steps.publishLater?.(copy),
      longestDelayMs: 1_000,
      heldKeys: steps.heldKeys ?? (async () => new Map()),
      number: 1,
      nextToken: () => token++,
      leaveWill: steps.leaveWill ?? (async () => {}),
      tellMembers: async (hint) => {
        told.push(hint);
        return true;
      },
      onGone: () => lost.push('gone'),
      onTrouble: () => lost.push('trouble'),
      onClosed: () => {},
    },
    (deliveries) => void got.push(...deliveries),
  );
  return { consumer, clock, told, got, lost };
}

describe('a consumer', () => {
  it('that is opened twice at once consumes once, and what comes to it is handed out', async () => {
    const answer = Promise.withResolvers<void>();
    const { model, channels } = createFakeModel(answer.promise);
    const { consumer, got, lost } = consumerOf(unordered);
    const opened = Promise.all([consumer.open(model, 'hints'), consumer.open(model, 'hints')]);
    await settled();
    answer.resolve();
    await opened;
    expect(channels).toHaveLength(1);
    for (const channel of channels) channel.deliver('{}');
    await settled();
    expect(got).toHaveLength(1);
    // And anew when it is lost.
    channels[0]?.lose();
    await consumer.open(model, 'hints');
    expect([channels.length, lost]).toEqual([2, ['gone']]);
    await consumer.close();
  });

  it('that is opened on a new connection while the former one does not answer reads on the new one alone', async () => {
    const answer = Promise.withResolvers<void>();
    const former = createFakeModel(answer.promise);
    const next = createFakeModel();
    const { consumer, got, lost } = consumerOf(unordered);
    const late = consumer.open(former.model, 'hints');
    await settled();
    await consumer.open(next.model, 'hints');
    answer.resolve();
    await late;
    expect([former.channels[0]?.ended, next.channels[0]?.ended, lost]).toEqual([true, false, []]);
    next.channels[0]?.deliver('{}');
    await settled();
    expect(got).toHaveLength(1);
    await consumer.close();
  });
});

describe('a consumer of an ordered channel', () => {
  it.each([
    ['closed', (consumer: RabbitConsumer) => void consumer.close()],
    ['told to stand aside', (consumer: RabbitConsumer) => consumer.standAside(createFakeModel().model)],
  ])('that is %s before its last will stands joins nobody and asks nothing for ever', async (_, end) => {
    const will = Promise.withResolvers<void>();
    const { consumer, clock, told } = consumerOf(keyed, { leaveWill: () => will.promise });
    const opening = consumer.open(createFakeModel().model, 'hints');
    end(consumer);
    await settled();
    will.resolve();
    await settled();
    expect([told, clock.nextTimerAt()]).toEqual([[], undefined]);
    await opening;
  });

  it('that is opened anew while what failed on the former connection still waits reads on the new one', async () => {
    const answer = Promise.withResolvers<void>();
    const former = createFakeModel(answer.promise);
    const next = createFakeModel();
    const { consumer, clock, got, lost } = consumerOf(keyed);
    void consumer.open(former.model, 'hints');
    await settled();
    clock.advance(25);
    await settled();
    answer.reject(new Error('the connection is gone'));
    await settled();
    const opening = consumer.open(next.model, 'hints');
    // Until it knows who is there, which is sooner than the former try is over.
    clock.advance(25);
    await settled();
    clock.advance(100);
    await opening;
    next.channels[0]?.deliver(event);
    await settled();
    expect([got.length, lost]).toEqual([1, []]);
    await consumer.close();
  });

  it('joins when its last will stands, and says so when it leaves (control)', async () => {
    const { consumer, clock, told } = consumerOf(keyed);
    const opening = consumer.open(createFakeModel().model, 'hints');
    await settled();
    clock.advance(25);
    await opening;
    expect(clock.nextTimerAt()).toBeDefined();
    await consumer.close();
    expect(told.map(({ kind }) => kind)).toEqual(['here', 'gone']);
    expect(clock.nextTimerAt()).toBeUndefined();
  });
});

/** Notes that are stored when the test says so. */
function slowNotes() {
  const writing: (() => void)[] = [];
  const notes: QueueNotes = {
    write: () => new Promise((resolve) => void writing.push(resolve)),
    edition: 0,
    read: async () => {},
    about: () => ({ crashes: 0, waits: undefined }),
    forget: () => {},
    onlyThese: () => {},
    close: async () => {},
  };
  return { notes, writing };
}

const event = JSON.stringify({
  specversion: '1.0',
  id: 'm',
  type: 'orders',
  source: '/s',
  partitionkey: 'k',
  data: {},
});

const HOUR_MS = 3_600_000;

describe('a retry that keeps its place', () => {
  /** `end` comes when the retry is on its way to the notes. */
  async function retried(
    end: (consumer: RabbitConsumer, { channels }: FakeModel) => Promise<void> | void,
  ): Promise<{ readonly result: PromiseSettledResult<unknown>; readonly waitsMs: number | undefined }> {
    const { notes, writing } = slowNotes();
    const { consumer, clock, got } = consumerOf(keyed, { notes });
    const fake = createFakeModel();
    const opening = consumer.open(fake.model, 'hints');
    await settled();
    clock.advance(25);
    await opening;
    fake.channels[0]?.deliver(event);
    await settled();
    const token = got[0]?.token ?? '';
    const dueAt = clock.now() + HOUR_MS;
    const settling = Promise.allSettled([consumer.settle([{ token, kind: 'retry', dueAt, state: '' }])]);
    await settled();
    const ending = end(consumer, fake);
    await settled();
    for (const stored of writing) stored();
    await settled();
    const [result] = await settling;
    // The question that members ask each second ends with it.
    await consumer.close();
    await ending;
    const nextAt = clock.nextTimerAt();
    return { result, waitsMs: nextAt === undefined ? undefined : nextAt - clock.monotonic() };
  }

  it('waits no longer than its channel is there: what came too late keeps no process', async () => {
    const { result, waitsMs } = await retried((_, { channels }) => channels[0]?.lose());
    expect(result).toMatchObject({ reason: { code: 'DB_MSG_ENGINE_UNREACHABLE' } });
    expect(waitsMs).toBeUndefined();
  });

  it('waits no longer than its consumer is open, also when it was noted in the middle of the close', async () => {
    const { waitsMs } = await retried((consumer) => consumer.close());
    expect(waitsMs).toBeUndefined();
  });
});

describe('a message of a stranger, with tables for headers of the toolkit', () => {
  /** As amqplib decodes them: no number and no text can be made of it. */
  const table = { toString: 'a', valueOf: 'b' };

  async function openedWith(channelSpec: ChannelSpec, steps: Steps) {
    const made = consumerOf(channelSpec, steps);
    const { model, channels } = createFakeModel();
    const opening = made.consumer.open(model, 'hints');
    await settled();
    made.clock.advance(25);
    await opening;
    return { ...made, channel: channels[0] as FakeChannel };
  }

  it.each([
    ['at once', unordered],
    ['behind a look at the notes and the dead letters', keyed],
  ])('is handed out %s, however its time is written', async (_, channelSpec) => {
    const notes: QueueNotes = { ...slowNotes().notes, write: async () => {} };
    const { consumer, got, lost, channel } = await openedWith(channelSpec, { notes });
    channel.deliver(event, { 'x-db-due': table });
    channel.deliver(event.replace('"k"', '"other"'), { 'x-delivery-count': table });
    await settled();
    expect([got.map(({ message }) => message?.id), lost]).toEqual([['m', 'm'], []]);
    await consumer.close();
  });

  it('goes round the ladder with what stands beside it, and the queue goes on', async () => {
    const rounds: Parcel[] = [];
    const { consumer, clock, got, lost, channel } = await openedWith(unordered, {
      publishLater: (copy) => rounds.push(copy),
    });
    channel.deliver(event, { 'x-db-due': String(clock.now() + HOUR_MS), 'x-db-state': 's', theirs: table });
    channel.deliver(event);
    await settled();
    expect(rounds.map(({ options }) => options.headers)).toMatchObject([
      { theirs: table, 'x-db-state': 's' },
    ]);
    expect([channel.acked, got.length, lost]).toEqual([[1], 1, []]);
    await consumer.close();
  });

  it('and whatever else breaks behind a look ends the channel, is told, and not the process', async () => {
    const { notes } = slowNotes();
    const about = (): never => {
      throw new TypeError('planted');
    };
    const { lost, got, channel } = await openedWith(keyed, { notes: { ...notes, about } });
    channel.deliver(event, { 'x-delivery-count': 1 });
    await settled();
    expect([got, channel.ended, lost]).toEqual([[], true, ['gone', 'trouble']]);
  });
});

describe('a key that is held by a dead letter', () => {
  it('is free after a discard, however often the look at the letters fails before it succeeds', async () => {
    const letter = { turn: 0, returning: [], left: 1 };
    const looks: (() => Promise<HeldKeys>)[] = [
      async () => new Map([['k', letter]]),
      () => Promise.reject(new Error('no leader')),
      () => Promise.reject(new Error('no leader')),
    ];
    const heldKeys = (): Promise<HeldKeys> => looks.shift()?.() ?? Promise.resolve(new Map());
    const { consumer, clock, got, lost } = consumerOf(keyed, { heldKeys });
    const { model, channels } = createFakeModel();
    const opening = consumer.open(model, 'hints');
    await settled();
    clock.advance(25);
    await opening;
    channels[0]?.deliver(event);
    await settled();
    expect(got).toEqual([]);
    void consumer.recheck();
    for (let looked = 0; looked < 2; looked += 1) {
      await settled();
      expect(got).toEqual([]);
      clock.advance(100);
    }
    await settled();
    expect([got.length, lost]).toEqual([1, ['trouble']]);
    // It is told once for as long as it fails, and again when it has succeeded meanwhile.
    looks.push(() => Promise.reject(new Error('no leader')));
    void consumer.recheck();
    await settled();
    expect(lost).toEqual(['trouble', 'trouble']);
    await consumer.close();
  });
});

it('what is given up is gone at once, and opened again, also where the broker never answers the close', async () => {
  const { consumer, got, lost } = consumerOf(unordered);
  const { model, channels } = createFakeModel();
  await consumer.open(model, 'hints');
  const [first] = channels as [FakeChannel];
  first.close = () => new Promise(() => {});
  // The queue was deleted, say.
  first.take?.(null);
  await settled();
  expect(lost).toEqual(['gone']);
  await consumer.open(model, 'hints');
  channels[1]?.deliver(event);
  await settled();
  expect(got).toHaveLength(1);
  await consumer.close();
});
