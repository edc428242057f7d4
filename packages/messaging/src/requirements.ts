/**
 * Compares what channels require with what the connected engine can do, and with what the places can do that some of them have on the server already: all unmet ones at once, each
 * with remedies.
 */
import type { Channel, EmulatableFeature } from './channel.ts';
import { isWeaker } from './durability.ts';
import type { Capabilities, ChannelStanding, Support } from './engine.ts';
import { UnsupportedCapabilityError, type UnmetRequirement } from './errors.ts';

/** Of these channels the engine is asked what their places can do: the others require nothing that a place decides. */
export const asksOfItsPlace = ({ requires }: Channel): boolean =>
  requires.confirm !== undefined || requires.size !== undefined;

export function refuseUnmet(
  engine: string,
  capabilities: Capabilities,
  channels: readonly Channel[],
  standing: ReadonlyMap<string, ChannelStanding> = new Map(),
): void {
  const unmet = channels.flatMap((channel) => unmetOf(channel, capabilities, standing.get(channel.name)));
  if (unmet.length > 0) throw new UnsupportedCapabilityError(engine, unmet);
}

function unmetOf(channel: Channel, can: Capabilities, standing: ChannelStanding = {}): UnmetRequirement[] {
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

  const confirm = standing.confirm?.durability ?? can.confirm;
  if (requires.confirm && isWeaker(confirm, requires.confirm)) {
    miss(
      'confirm',
      requires.confirm,
      at(standing.confirm, confirm),
      `ask for confirm: '${confirm}' if that is enough`,
      ...(standing.confirm?.remedies ?? ['configure the engine for it']),
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
  const maxBytes = standing.size?.maxMessageBytes ?? can.maxMessageBytes;
  if (requires.size && requires.size.maxBytes > maxBytes) {
    miss(
      'size',
      `up to ${requires.size.maxBytes} bytes`,
      at(standing.size, `up to ${maxBytes} bytes`),
      `ask for size.maxBytes of at most ${maxBytes}`,
      ...(standing.size?.remedies ?? ['raise the limit of the engine, and of its server where that has one']),
      'keep the data elsewhere and publish where it is',
    );
  }
  return found;
}

function at(where: { readonly place: string } | undefined, what: string): string {
  return where === undefined ? what : `${what} at ${where.place}`;
}
