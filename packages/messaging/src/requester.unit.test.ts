import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { defineChannel } from './channel.ts';
import type { StandardSchema } from './contract.ts';
import type { Delivery, EngineConnection, OutgoingMessage } from './engine.ts';
import { createIds } from './ids.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import { Requester } from './requester.ts';
import { deliveryOf } from './testing/scripted-engine.ts';

const quotes = defineChannel({ name: 'quotes', version: 1, schema: Type.Any() });
const message = { id: 'm', type: 'quotes', version: 1, source: '/t', time: '', data: 1, headers: {} };
const request: OutgoingMessage = { channel: 'quotes', message };

function requesterOn(declare: () => Promise<void>): {
  readonly requester: Requester;
  readonly clock: ReturnType<typeof createManualClock>;
  readonly sent: OutgoingMessage[];
} {
  const clock = createManualClock();
  const sent: OutgoingMessage[] = [];
  const requester = new Requester({
    connection: { declare, subscribe: async () => ({}) } as unknown as EngineConnection,
    send: async (batch) => sent.push(...batch),
    clock,
    ids: createIds(clock),
  });
  return { requester, clock, sent };
}

it('a reply channel that could not be opened is opened again by the next request', async () => {
  let opened = 0;
  const { requester, sent } = requesterOn(async () => {
    opened += 1;
    if (opened === 1) throw new Error('the broker is away');
  });
  await expect(requester.ask(quotes, request, 1_000)).rejects.toThrow('the broker is away');
  const second = requester.ask(quotes, request, 1_000);
  await expect.poll(() => sent.length).toBe(1);
  requester.stop();
  await expect(second).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
});

it('the time of a request runs while the reply channel is opened', async () => {
  const { requester, clock, sent } = requesterOn(() => new Promise(() => {}));
  const asked = requester.ask(quotes, request, 1_000);
  clock.advance(1_000);
  await expect(asked).rejects.toMatchObject({ code: 'DB_MSG_REQUEST_TIMEOUT' });
  expect(sent).toEqual([]);
});

it('refuses a time that is none', async () => {
  const { requester } = requesterOn(async () => {});
  for (const timeoutMs of [Number.NaN, -5, 0, 1e15])
    await expect(requester.ask(quotes, request, timeoutMs)).rejects.toMatchObject({
      code: 'DB_MSG_INVALID_OPTIONS',
    });
});

describe('a reply whose contract cannot be checked', () => {
  it.each<[string, () => unknown, string]>([
    [
      'because it throws',
      () => {
        throw new Error('boom');
      },
      'DB_MSG_INVALID_DATA',
    ],
    ['because it rejects', () => Promise.reject(new Error('boom')), 'DB_MSG_INVALID_DATA'],
    ['because it never answers', () => new Promise(() => {}), 'DB_MSG_REQUEST_TIMEOUT'],
  ])('%s rejects the request', async (_, validate, code) => {
    const schema = { '~standard': { version: 1, vendor: 't', validate } } as StandardSchema;
    await expect(answered(schema)).rejects.toMatchObject({ code });
  });

  it('one that can be gives what its contract makes of the data (the control)', async () => {
    const validate = (value: unknown): { readonly value: unknown } => ({ value: Number(value) });
    const schema = { '~standard': { version: 1, vendor: 't', validate } } as StandardSchema;
    await expect(answered(schema)).resolves.toBe(5);
  });
});

/** What a request gets that is answered with "5"; its time is over soon after. */
async function answered(schema: StandardSchema): Promise<unknown> {
  const channel = defineChannel({ name: 'quotes', version: 1, schema: Type.Any(), reply: schema });
  const clock = createManualClock();
  const sent: OutgoingMessage[] = [];
  const settled: unknown[] = [];
  let receive: (deliveries: readonly Delivery[]) => void = () => {};
  const requester = new Requester({
    connection: {
      declare: async () => {},
      subscribe: async (_: unknown, given: typeof receive) => {
        receive = given;
        return { settle: async (some: readonly unknown[]) => settled.push(...some) };
      },
    } as unknown as EngineConnection,
    send: async (batch) => sent.push(...batch),
    clock,
    ids: createIds(clock),
  });
  const asked = requester.ask(channel, request, 1_000);
  asked.catch(() => {});
  await expect.poll(() => sent.length).toBe(1);
  receive([deliveryOf(1, { type: 'quotes.reply', causationId: 'm', data: '5' })]);
  await expect.poll(() => settled).toEqual([{ kind: 'ack', token: 1 }]);
  clock.advance(1_000);
  return asked;
}
