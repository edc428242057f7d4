/** Compares what channels require with what the connected engine can do: all unmet ones at once, each with remedies. */
import type { Channel, Durability, EmulatableFeature } from './channel.ts';
import type { Capabilities, Support } from './engine.ts';
import { UnsupportedCapabilityError, type UnmetRequirement } from './errors.ts';

const STRENGTH: Readonly<Record<Durability, number>> = { none: 0, memory: 1, disk: 2, replicated: 3 };

export function refuseUnmet(engine: string, capabilities: Capabilities, channels: readonly Channel[]): void {
  const unmet = channels.flatMap((channel) => unmetOf(channel, capabilities));
  if (unmet.length > 0) throw new UnsupportedCapabilityError(engine, unmet);
}

function unmetOf(channel: Channel, can: Capabilities): UnmetRequirement[] {
  const { requires } = channel;
  const found: UnmetRequirement[] = [];
  const miss = (feature: string, asked: string, available: string, ...remedies: string[]): void => {
    found.push({ channel: channel.name, feature, asked, available, remedies });
  };
  const feature = (name: EmulatableFeature, support: Support, asked: string): void => {
    if (support === 'native' || (support === 'emulated' && requires.emulation?.includes(name))) return;
    if (support === 'emulated')
      miss(
        name,
        asked,
        'an emulation only',
        `add emulation: ['${name}'] to the channel's requires after reading its cost`,
      );
    else
      miss(
        name,
        asked,
        'none',
        `drop it from the channel`,
        'choose an engine that has it, for instance the embedded one',
      );
  };

  if (requires.confirm && STRENGTH[can.confirm] < STRENGTH[requires.confirm]) {
    miss(
      'confirm',
      requires.confirm,
      can.confirm,
      `ask for confirm: '${can.confirm}' if that is enough`,
      'configure the engine for it',
    );
  }
  if (channel.order === 'key') feature('order', can.orderPerKey, 'per key');
  if (requires.delay) {
    feature('delay', can.delay.support, `up to ${requires.delay.maxMs} ms`);
    if (can.delay.support !== 'none' && requires.delay.maxMs > can.delay.maxMs) {
      miss(
        'delay',
        `up to ${requires.delay.maxMs} ms`,
        `up to ${can.delay.maxMs} ms`,
        `ask for delay.maxMs of at most ${can.delay.maxMs}`,
      );
    }
  }
  if (requires.priority) {
    feature('priority', can.priority.support, `${requires.priority.levels} levels`);
    if (can.priority.support !== 'none' && requires.priority.levels > can.priority.levels) {
      miss(
        'priority',
        `${requires.priority.levels} levels`,
        `${can.priority.levels} levels`,
        `ask for at most ${can.priority.levels} levels`,
      );
    }
  }
  if (requires.ttl) feature('ttl', can.ttl.support, 'per message');
  if (requires.replay && can.replay !== 'native') {
    miss('replay', 'yes', can.replay, 'drop it from the channel', 'choose an engine with a log');
  }
  if (requires.routing) feature('routing', can.routing[requires.routing], requires.routing);
  if (requires.broadcast && can.broadcast !== 'native') {
    miss(
      'broadcast',
      'every consumer hears every message',
      can.broadcast,
      'give each consumer a subscription name of its own: every subscription gets every message',
      'choose the engine on Redis Pub/Sub',
    );
  }
  if (requires.deadLetters && can.deadLetters === 'none') {
    miss(
      'deadLetters',
      'kept with their history',
      'none',
      'drop it from the channel if what fails may be lost',
      'choose a durable engine: every one of them keeps dead letters',
    );
  }
  if (requires.size && requires.size.maxBytes > can.maxMessageBytes) {
    miss(
      'size',
      `up to ${requires.size.maxBytes} bytes`,
      `up to ${can.maxMessageBytes} bytes`,
      `ask for size.maxBytes of at most ${can.maxMessageBytes}`,
      'raise the limit of the engine, and of its server where that has one',
      'keep the data elsewhere and publish where it is',
    );
  }
  return found;
}
