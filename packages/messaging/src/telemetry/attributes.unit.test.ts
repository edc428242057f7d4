/** The values of `messaging.system`: one for each system, whatever engine of ours stores there, so that a dashboard finds all of it. */
import { expect, it } from 'vitest';
import { systemOf } from './attributes.ts';

it.each([
  ['embedded', 'doorbuster'],
  ['redis', 'redis'],
  ['redis-lists', 'redis'],
  ['redis-pubsub', 'redis'],
  ['rabbitmq', 'rabbitmq'],
  ['kafka', 'kafka'],
  ['made by somebody', 'made by somebody'],
])('the engine "%s" is of the system "%s"', (engine, system) => {
  expect(systemOf(engine)).toBe(system);
});
