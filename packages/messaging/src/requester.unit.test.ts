import Type from 'typebox';
import { expect, it } from 'vitest';
import { defineChannel } from './channel.ts';
import type { EngineConnection, OutgoingMessage } from './engine.ts';
import { createIds } from './ids.ts';
import { createManualClock } from './manual-clock.ts';
import { Requester } from './requester.ts';

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
