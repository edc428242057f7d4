/**
 * A process that is made to be killed: opens the engine of the fixture, does one thing over and over and tells each step on stdout.
 * Arguments: module URL, its argument, and the scenario.
 */
import { writeSync } from 'node:fs';
import { createBus } from '../bus.ts';
import { pause, systemClock } from '../clock.ts';
import type { Engine } from '../engine.ts';
import { ack } from '../outcome.ts';
import { plain } from './channels.ts';

const [module = '', argument = '', scenario = ''] = process.argv.slice(2);
const { openEngine: open } = (await import(module)) as { openEngine: (argument: string) => Engine };
// Straight to the descriptor: what was told must be out before a kill can come.
const tell = (step: string, id: string): void => void writeSync(1, `${step} ${id}\n`);
/** From here on the patience of a case counts. */
const tellReady = (): void => void writeSync(1, 'ready\n');
const never = new Promise<never>(() => {});

if (scenario === 'receive') await receiveOnly();
else {
  const bus = createBus({ engine: open(argument), source: '/child' });
  bus.declare([plain]);
  if (scenario === 'handle')
    bus.subscribe(plain, {
      name: 'one',
      handler: async ({ id }) => {
        tell('handling', id);
        return await never;
      },
    });
  if (scenario === 'ack')
    bus.subscribe(plain, {
      name: 'one',
      concurrency: 4,
      handler: ({ id }) => {
        tell('handled', id);
        return ack();
      },
    });
  if (scenario === 'settled')
    bus.subscribe(plain, {
      name: 'one',
      handler: async ({ id }) => {
        await pause(systemClock, 1);
        tell('handled', id);
        return ack();
      },
    });
  await bus.start();
  tellReady();
  if (scenario === 'confirm')
    for (let n = 0; ; n += 1) tell('confirmed', (await bus.publish(plain, { n })).id);
  await never;
}

/** Takes deliveries from the engine and never hands them to anyone. */
async function receiveOnly(): Promise<void> {
  const connection = await open(argument).connect({ clock: systemClock, onFatal: () => {} });
  await connection.declare({
    channels: [
      {
        name: plain.name,
        order: 'none',
        onFailure: 'skip',
        priorityLevels: 1,
        ephemeral: false,
        routing: 'fanout',
        keepMs: undefined,
      },
    ],
    subscriptions: [{ channel: plain.name, name: 'one' }],
  });
  await connection.subscribe(
    { channel: plain.name, subscription: 'one', prefetch: 5, leaseMs: 60_000 },
    (deliveries) => {
      for (const { message } of deliveries) tell('received', message?.id ?? '');
    },
  );
  tellReady();
  await never;
}
