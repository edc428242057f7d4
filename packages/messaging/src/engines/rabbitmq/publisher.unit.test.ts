/** The publisher against a channel that misbehaves on purpose: alarms, returns and silence cannot be had from a real broker at will. */
import { EventEmitter } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { createManualClock } from '../../manual-clock.ts';
import { Publisher } from './publisher.ts';
import type { Parcel } from './wire.ts';

class FakeChannel extends EventEmitter {
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
}

const parcel: Parcel = { content: Buffer.from('{}'), options: { messageId: 'm' } };

async function open(): Promise<{
  readonly publisher: Publisher;
  readonly model: EventEmitter;
  readonly channel: FakeChannel;
  readonly clock: ReturnType<typeof createManualClock>;
  readonly blocked: (string | undefined)[];
}> {
  const clock = createManualClock();
  const channel = new FakeChannel();
  const model = Object.assign(new EventEmitter(), { createConfirmChannel: async () => channel });
  const blocked: (string | undefined)[] = [];
  const publisher = new Publisher({
    clock,
    confirmTimeoutMs: 1_000,
    onMissing: () => {},
    onBlocked: (reason) => blocked.push(reason),
  });
  await publisher.open(model as unknown as ChannelModel);
  return { publisher, model, channel, clock, blocked };
}

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
});
