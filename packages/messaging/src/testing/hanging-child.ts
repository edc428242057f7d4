/**
 * A process that takes one message and holds it; when it is told to go on (SIGCONT) it makes a dead letter of it at once, before anything else of it runs, tells what the engine says to that,
 * and ends. Arguments: module with `openEngine`, its argument.
 */
import { writeSync } from 'node:fs';
import { pause, systemClock } from '../clock.ts';
import { plain } from '../conformance/channels.ts';
import type { Consumer, DeliveryToken, Engine, SettleResult } from '../engine.ts';
import { specOf } from '../specs.ts';

const AGAIN_MS = 20;
const [module = '', argument = ''] = process.argv.slice(2);
const { openEngine } = (await import(module)) as { openEngine: (argument: string) => Engine };
const tell = (line: string): void => void writeSync(1, `${line}\n`);

const held = Promise.withResolvers<DeliveryToken>();
const connection = await openEngine(argument).connect({ clock: systemClock, onFatal: () => {} });
await connection.declare({
  channels: [specOf(plain)],
  subscriptions: [{ channel: plain.name, name: 'one' }],
});
const consumer = await connection.subscribe(
  { channel: plain.name, subscription: 'one', prefetch: 1, leaseMs: 60_000 },
  (deliveries) => {
    for (const { token, message } of deliveries) {
      held.resolve(token);
      tell(`holding ${message?.id}`);
    }
  },
);
process.once('SIGCONT', () => void goOn());
tell('ready');

async function goOn(): Promise<void> {
  tell(`settled ${await park(consumer, await held.promise)}`);
  await connection.close();
  process.exit();
}

async function park(at: Consumer, token: DeliveryToken): Promise<SettleResult | undefined> {
  const cause = { reason: 'late', group: 'late', history: [], stateOnRedrive: '' };
  const letter = { id: 'late', at: systemClock.now(), ...cause };
  for (;;) {
    try {
      return (await at.settle([{ kind: 'deadLetter', token, letter }]))[0];
    } catch {
      // A connection that is gone and not known to be: trying again is safe.
      await pause(systemClock, AGAIN_MS);
    }
  }
}
