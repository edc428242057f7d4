/** A message as an outbox takes it, where a test is not about what is in it. */
import type { OutgoingMessage } from '../engine.ts';
import type { Message } from '../message.ts';

export const messageOn = (channel: string, change: Partial<Message> = {}): OutgoingMessage => ({
  channel,
  message: {
    id: '1',
    type: channel,
    version: 1,
    source: 'test',
    time: '2026-01-01T00:00:00.000Z',
    data: null,
    headers: {},
    ...change,
  },
});
