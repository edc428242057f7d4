/** Which of a channel's topics speaks for it, and what is left to the engine's own capabilities. */
import { describe, expect, it } from 'vitest';
import type { Durability } from '../../channel.ts';
import type { Capabilities } from '../../engine.ts';
import { durabilityOf, standingOfChannel, type TopicStanding, weakestOf } from './standing.ts';

const topic = (name: string, durability: Durability, maxMessageBytes = 1_000): TopicStanding => ({
  topic: name,
  durability,
  maxMessageBytes,
  retentionMs: undefined,
  retentionBytes: undefined,
});
const can = (confirm: Durability, maxMessageBytes = 1_000): Capabilities =>
  ({ confirm, maxMessageBytes }) as Capabilities;

describe('what the topics of a channel can do', () => {
  it.each<[number, number, boolean, Durability]>([
    [1, 1, false, 'memory'],
    [1, 1, true, 'disk'],
    // Nobody else has it: the broker refuses to confirm rather than to wait for a copy that there is none of.
    [1, 2, false, 'memory'],
    [3, 1, false, 'memory'],
    [3, 1, true, 'disk'],
    [3, 2, false, 'replicated'],
    [3, 2, true, 'replicated'],
  ])('%i copies, %i in sync, flushing %s: %s', (copies, least, flushes, expected) => {
    expect(durabilityOf(copies, least, flushes)).toBe(expected);
  });

  it('the least durable of all priorities speaks for them, wherever it stands', () => {
    const topics = [topic('a', 'disk'), topic('b', 'replicated'), topic('c', 'memory'), topic('d', 'disk')];
    expect(weakestOf(topics)?.topic).toBe('c');
    expect(standingOfChannel(topics, true, can('replicated')).confirm).toMatchObject({
      durability: 'memory',
      place: expect.stringContaining('"c"'),
    });
  });

  it('topics that are all there decide, also where new ones would be weaker', () => {
    expect(standingOfChannel([topic('a', 'disk')], true, can('memory')).confirm?.durability).toBe('disk');
  });

  it('where some are not there yet, only what is weaker than those will be is told', () => {
    expect(standingOfChannel([topic('a', 'disk')], false, can('memory'))).toEqual({});
    expect(standingOfChannel([topic('a', 'memory')], false, can('disk')).confirm?.durability).toBe('memory');
    expect(standingOfChannel([], false, can('disk'))).toEqual({});
  });

  it('the smallest limit counts, and none above that of the engine', () => {
    const topics = [topic('a', 'disk', 900), topic('b', 'disk', 700), topic('c', 'disk', 2_000)];
    expect(standingOfChannel(topics, true, can('disk')).size).toMatchObject({
      maxMessageBytes: 700,
      place: expect.stringContaining('"b"'),
    });
    expect(standingOfChannel([topic('a', 'disk', 2_000)], true, can('disk')).size).toBeUndefined();
  });
});
