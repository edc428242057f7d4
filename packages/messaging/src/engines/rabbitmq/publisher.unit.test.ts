/** The publisher against a channel that misbehaves on purpose: alarms, returns and silence cannot be had from a real broker at will. */
import { EventEmitter } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { LONGEST_ANSWER_MS } from './answered.ts';
import { Publisher } from './publisher.ts';
import type { Parcel } from './wire.ts';

class FakeChannel extends EventEmitter {
  closed = false;
  readonly sent: { readonly mandatory: boolean | undefined; readonly confirm: (error: unknown) => void }[] =
    [];
  publish(
    _exchange: string,
    _routingKey: string,
    _content: Buffer,
    options: { mandatory?: boolean },
    confirm: (error: unknown) => void,
  ): boolean {
    this.sent.push({ mandatory: options.mandatory, confirm });
    return true;
  }
  async close(): Promise<void> {
    this.closed = true;
  }
}

const parcel: Parcel = { content: Buffer.from('{}'), options: { messageId: 'm' } };

async function open(): Promise<{
  readonly publisher: Publisher;
  readonly model: EventEmitter;
  readonly channel: FakeChannel;
  /** Those that were opened, `channel` first. */
  readonly channels: FakeChannel[];
  readonly troubles: unknown[];
  readonly clock: ReturnType<typeof createManualClock>;
  readonly blocked: (string | undefined)[];
}> {
  const clock = createManualClock();
  const channels: FakeChannel[] = [];
  const troubles: unknown[] = [];
  const model = Object.assign(new EventEmitter(), {
    createConfirmChannel: async () => channels[channels.push(new FakeChannel()) - 1],
  });
  const blocked: (string | undefined)[] = [];
  const publisher = new Publisher({
    clock,
    confirmTimeoutMs: 1_000,
    onMissing: () => {},
    onBlocked: (reason) => blocked.push(reason),
    onTrouble: (error) => troubles.push(error),
    onOpened: () => {},
  });
  await publisher.open(model as unknown as ChannelModel);
  return { publisher, model, channel: channels[0] as FakeChannel, channels, troubles, clock, blocked };
}

/** What is under way without a timer is done. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('publisher', () => {
  it('joins a return with the confirm that follows it', async () => {
    const { publisher, channel } = await open();
    const first = publisher.publish('e', 'k', parcel);
    const second = publisher.publish('e', 'other', parcel);
    expect(channel.sent.every(({ mandatory }) => mandatory)).toBe(true);
    channel.emit('return', { fields: { exchange: 'e', routingKey: 'k' }, properties: { messageId: 'm' } });
    for (const { confirm } of channel.sent) confirm(null);
    await expect(first).rejects.toMatchObject({ code: 'DB_MSG_UNROUTABLE' });
    await expect(second).resolves.toBeUndefined();
  });

  it('rejects at once while the broker is blocked, what is in flight too, and goes on afterwards', async () => {
    const { publisher, model, channel, blocked } = await open();
    const flying = publisher.publish('e', 'k', parcel);
    model.emit('blocked', 'low on memory');
    await expect(flying).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_BLOCKED', retryable: true });
    await expect(publisher.publish('e', 'k', parcel)).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_BLOCKED',
    });
    expect(channel.sent).toHaveLength(1);
    model.emit('unblocked');
    const after = publisher.publish('e', 'k', parcel);
    channel.sent.at(-1)?.confirm(null);
    await expect(after).resolves.toBeUndefined();
    expect(blocked).toEqual(['low on memory', undefined]);
  });

  it('rejects as retryable when a confirm does not come, or the channel ends before it', async () => {
    const { publisher, channel, clock } = await open();
    const silent = publisher.publish('e', 'k', parcel);
    clock.advance(1_001);
    await expect(silent).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE', retryable: true });
    const cut = publisher.publish('e', 'k', parcel);
    channel.emit('close');
    await expect(cut).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
  });

  it('a negative acknowledgement is a rejection', async () => {
    const { publisher, channel } = await open();
    const refused = publisher.publish('e', 'k', parcel);
    channel.sent[0]?.confirm(new Error('nacked'));
    await expect(refused).rejects.toMatchObject({ retryable: true });
  });

  it('opens its channel anew for a refusal, once for many, and what else was in flight rejects as retryable', async () => {
    const { publisher, channel, channels } = await open();
    const flying = Promise.allSettled(['a', 'b', 'c'].map((key) => publisher.publish('e', key, parcel)));
    for (const { confirm } of channel.sent.slice(0, 2)) confirm(new Error('nacked'));
    for (const one of await flying)
      expect(one).toMatchObject({ reason: { code: 'DB_MSG_ENGINE_UNREACHABLE', retryable: true } });
    await settled();
    expect(channels.map(({ closed }) => closed)).toEqual([true, false]);
    const after = publisher.publish('e', 'k', parcel);
    // What the old one still says is about what has been rejected.
    channel.sent[2]?.confirm(new Error('nacked'));
    channel.emit('close');
    channels[1]?.sent[0]?.confirm(null);
    await expect(after).resolves.toBeUndefined();
    expect(channels).toHaveLength(2);
  });

  it('keeps its channel for a growing time while refusals go on, so that others are not rejected for each', async () => {
    const { publisher, channels, clock } = await open();
    const openedAt: number[] = [];
    for (let second = 0; second < 40; second += 1) {
      const before = channels.length;
      const refused = publisher.publish('e', 'full', parcel);
      channels.at(-1)?.sent.at(-1)?.confirm(new Error('nacked'));
      await expect(refused).rejects.toMatchObject({ retryable: true });
      await settled();
      if (channels.length > before) openedAt.push(second);
      clock.advance(1_000);
    }
    expect(openedAt).toEqual([0, 1, 3, 7, 15, 31]);
    clock.advance(60_000);
    const refused = publisher.publish('e', 'full', parcel);
    channels.at(-1)?.sent.at(-1)?.confirm(new Error('nacked'));
    await expect(refused).rejects.toMatchObject({ retryable: true });
    clock.advance(1_000);
    await settled();
    expect(channels).toHaveLength(8);
  });

  it('opens a new channel also when the broker does not answer that it has closed the old one', async () => {
    const { publisher, channel, channels, clock } = await open();
    channel.close = () => new Promise(() => {});
    const refused = publisher.publish('e', 'k', parcel);
    channel.sent[0]?.confirm(new Error('nacked'));
    await expect(refused).rejects.toMatchObject({ retryable: true });
    await settled();
    expect(channels).toHaveLength(1);
    clock.advance(LONGEST_ANSWER_MS);
    await settled();
    expect(channels).toHaveLength(2);
    const after = publisher.publish('e', 'k', parcel);
    channels[1]?.sent[0]?.confirm(null);
    await expect(after).resolves.toBeUndefined();
  });

  it('opens its channel anew at once when the first refusal on a new connection comes, however many came on the old one', async () => {
    const { publisher, model, channels, clock } = await open();
    const refusedOnce = async (): Promise<number> => {
      const before = channels.length;
      const refused = publisher.publish('e', 'full', parcel);
      channels.at(-1)?.sent.at(-1)?.confirm(new Error('nacked'));
      await expect(refused).rejects.toMatchObject({ retryable: true });
      await settled();
      return channels.length - before;
    };
    for (const opened of [1, 1, 0, 1, 0]) {
      expect(await refusedOnce()).toBe(opened);
      clock.advance(1_000);
    }
    publisher.down();
    await publisher.open(model as unknown as ChannelModel);
    expect(await refusedOnce()).toBe(1);
  });

  it('tells when its channel cannot be opened, and tries again', async () => {
    const { publisher, model, channel, troubles, clock } = await open();
    const whole = (model as unknown as { createConfirmChannel: unknown }).createConfirmChannel;
    const refusal = new Error('no more channels');
    Object.assign(model, { createConfirmChannel: () => Promise.reject(refusal) });
    channel.emit('close');
    await settled();
    expect(troubles).toEqual([refusal]);
    await expect(publisher.publish('e', 'k', parcel)).rejects.toMatchObject({ retryable: true });
    Object.assign(model, { createConfirmChannel: whole });
    clock.advance(1_000);
    await settled();
    void publisher.publish('e', 'k', parcel);
  });

  it('waits for no channel after its stop, so that the process can end', async () => {
    const { publisher, model, channel, troubles, clock } = await open();
    const asked: unknown[] = [];
    const refuse = (): Promise<never> => {
      asked.push('a channel');
      return Promise.reject(new Error('no more channels'));
    };
    Object.assign(model, { createConfirmChannel: refuse });
    channel.emit('close');
    await settled();
    expect(troubles).toHaveLength(1);
    expect(clock.nextTimerAt()).toBeDefined();
    publisher.stop();
    await settled();
    expect(clock.nextTimerAt()).toBeUndefined();
    clock.advance(60_000);
    await settled();
    expect(asked).toHaveLength(1);
  });

  it('a return of what was given up before says nothing about the next publish of that id', async () => {
    const { publisher, channel, clock } = await open();
    const comesBack = (): boolean =>
      channel.emit('return', { fields: { exchange: 'e', routingKey: 'k' }, properties: { messageId: 'm' } });
    const late = publisher.publish('e', 'k', parcel);
    clock.advance(1_001);
    await expect(late).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
    comesBack();
    channel.sent[0]?.confirm(null);
    const stored = publisher.publish('e', 'k', parcel);
    channel.sent[1]?.confirm(null);
    await expect(stored).resolves.toBeUndefined();
    // The control: a return of its own does.
    const unroutable = publisher.publish('e', 'k', parcel);
    comesBack();
    channel.sent[2]?.confirm(null);
    await expect(unroutable).rejects.toMatchObject({ code: 'DB_MSG_UNROUTABLE' });
  });

  it('refuses for good what AMQP cannot carry, and its channel goes on', async () => {
    const { publisher, channel } = await open();
    const refusal = { code: 'DB_MSG_INVALID_OPTIONS', retryable: false };
    for (const routingKey of ['k'.repeat(256), 'é'.repeat(128), 'half \ud800'])
      await expect(publisher.publish('e', routingKey, parcel)).rejects.toMatchObject(refusal);
    expect(channel.sent).toEqual([]);
    const whole = channel.publish;
    channel.publish = () => {
      throw new TypeError("Field 'messageId' is the wrong type");
    };
    await expect(publisher.publish('e', 'k', parcel)).rejects.toMatchObject(refusal);
    channel.publish = () => {
      throw Object.assign(new Error('Channel closed'), { name: 'IllegalOperationError' });
    };
    await expect(publisher.publish('e', 'k', parcel)).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNREACHABLE',
      retryable: true,
    });
    channel.publish = whole;
    const fine = publisher.publish('e', 'k'.repeat(255), parcel);
    channel.sent[0]?.confirm(null);
    await fine;
  });

  it('opens no channel and waits for nothing once it is stopped, also when its channel closes before it is told that the connection is down', async () => {
    const { publisher, model, channel, channels, troubles, clock } = await open();
    Object.assign(model, { createConfirmChannel: () => Promise.reject(new Error('closing')) });
    publisher.stop();
    channel.emit('close');
    await settled();
    expect([channels.length, troubles, clock.nextTimerAt()]).toEqual([1, [], undefined]);
  });

  it.each([
    ['after the stop: no timer, and the end of the connection rejects it', true],
    ['before the stop (control): its timer ends with the stop', false],
  ])('what is published %s', async (_, isLate) => {
    const { publisher, clock } = await open();
    if (isLate) publisher.stop();
    const flying = publisher.publish('e', 'k', parcel);
    expect(clock.nextTimerAt()).toBe(isLate ? undefined : 1_000);
    publisher.stop();
    expect(clock.nextTimerAt()).toBeUndefined();
    publisher.down();
    await expect(flying).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE', retryable: true });
    expect(clock.nextTimerAt()).toBeUndefined();
  });

  it('tries on while it is not stopped, and tells why (control)', async () => {
    const { model, channel, troubles, clock } = await open();
    Object.assign(model, { createConfirmChannel: () => Promise.reject(new Error('closing')) });
    channel.emit('close');
    await settled();
    expect(troubles).toHaveLength(1);
    expect(clock.nextTimerAt()).toBeDefined();
  });
});
