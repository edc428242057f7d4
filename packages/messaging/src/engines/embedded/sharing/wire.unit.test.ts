import { describe, expect, it } from 'vitest';
import { readClient } from './wire.ts';

const row = { channel: 'c', level: 0, key: null, expiresAt: null, dueAt: null, body: '{}' };
const turn = (operation: unknown): unknown => ({ turn: 1, operations: [operation] });

describe('what a client says', () => {
  it.each([
    { op: 'publish', rows: [row] },
    { op: 'subscribe', consumer: 1, channel: 'c', subscription: 's', prefetch: 2, leaseMs: 50 },
    { op: 'settle', consumer: 1, settlements: [{ kind: 'ack', token: 7 }] },
    { op: 'rewind', channel: 'c', subscription: 's', from: { timeMs: 5 }, dryRun: true },
    {
      op: 'declare',
      topology: {
        channels: [
          {
            name: 'c',
            order: 'none',
            onFailure: 'skip',
            priorityLevels: 1,
            ephemeral: false,
            routing: 'headers',
          },
        ],
        subscriptions: [{ channel: 'c', name: 's', bindings: [{ match: 'all', headers: { a: 'b' } }] }],
      },
    },
  ])('is understood: $op', (operation) => {
    expect(readClient(turn(operation))).toEqual(turn(operation));
  });

  it.each([
    ['nothing', undefined],
    ['a number', 5],
    ['an unknown operation', turn({ op: 'format' })],
    ['an operation of the host alone', turn({ op: 'lose', consumer: 1 })],
    ['no operation at all', turn(null)],
    ['a fraction for a column of whole numbers', turn({ op: 'publish', rows: [{ ...row, dueAt: 1.5 }] })],
    ['a number beyond all', turn({ op: 'publish', rows: [{ ...row, expiresAt: 1e300 }] })],
    ['a body that is no text', turn({ op: 'publish', rows: [{ ...row, body: 5 }] })],
    ['a field that nobody knows', turn({ op: 'publish', rows: [{ ...row, more: 1 }] })],
    [
      'a prefetch without bounds',
      turn({ op: 'subscribe', consumer: 1, channel: 'c', subscription: 's', prefetch: 1e9, leaseMs: 50 }),
    ],
    ['a settlement of no kind', turn({ op: 'settle', consumer: 1, settlements: [{ kind: 'x', token: 1 }] })],
    ['a hello without a protocol', { hello: {} }],
  ])('is refused: %s', (_, said) => {
    expect(readClient(said)).toHaveProperty('fault');
  });
});
