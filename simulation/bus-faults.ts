/**
 * What goes wrong between a message and its reader. The durable queue itself keeps its promises (it is the production code), so faults sit where a
 * network would be: between relay and bus, between an intake and the bus, between the writer's hand-out and the handler.
 */
import type { Bus, OutboxRow } from '@doorbuster/messaging';
import type { TurnReply } from '@doorbuster/messaging/engines/embedded';
import type { EntryQueue } from '../packages/server/src/admission/queued.ts';
import type { Seeded } from './seeded.ts';
import type { World } from './world.ts';

type HandOuts = TurnReply['handOuts'];

/** Ids of messages that the bus confirmed and then lost: nobody can be asked to have counted them. */
export class LostMessages {
  readonly ids = new Set<string>();
}

/** Confirmed, and lost, doubled, out of order or late. The relay's messages are doorbells: the sweep must find what they do not tell. */
export function unreliableForward(
  world: World,
  bus: Bus,
  lost: LostMessages,
  random: Seeded,
): Pick<Bus, 'forward'> {
  const forward = bus.forward.bind(bus) as (rows: readonly OutboxRow[]) => Promise<unknown>;
  return {
    forward: (async (rows: readonly OutboxRow[]) => {
      let sent = rows;
      if (random.chance(world.storm('bus-lost'))) {
        world.fault('bus-lost', rows.length);
        for (const { message } of rows) lost.ids.add(message.id);
        sent = [];
      } else if (random.chance(world.storm('bus-duplicated'))) {
        world.fault('bus-duplicated', rows.length);
        sent = [...rows, ...rows];
      } else if (rows.length > 1 && random.chance(world.storm('bus-reordered'))) {
        world.fault('bus-reordered', rows.length);
        sent = [...rows].reverse();
      }
      return sent.length === 0 ? [] : forward(sent);
    }) as Bus['forward'],
  };
}

/** The confirm of a publish may get lost on its way, and a publisher that hears nothing publishes again. */
export function unreliableQueue(world: World, queue: EntryQueue, random: Seeded): EntryQueue {
  return {
    ...queue,
    publish: async (data) => {
      await queue.publish(data);
      if (random.chance(world.storm('bus-duplicated'))) {
        world.fault('bus-duplicated', 1);
        await queue.publish(data);
      }
      if (!random.chance(world.storm('bus-lost-confirm') / 2)) return;
      world.fault('bus-lost-confirm');
      throw new Error('no confirm came');
    },
  };
}

/** Hand-outs that get lost (their lease brings them back), swapped, or kept back until a later turn. */
export class HandOutFaults {
  readonly #world: World;
  readonly #random: Seeded;
  #late: HandOuts = [];

  constructor(world: World, random: Seeded) {
    this.#world = world;
    this.#random = random;
  }

  pass(reply: TurnReply): TurnReply {
    const handOuts = [...this.#late, ...reply.handOuts];
    this.#late = [];
    if (handOuts.length === 0) return reply;
    const kept: HandOuts[number][] = [];
    const late: HandOuts[number][] = [];
    for (const handOut of handOuts) {
      const { world, random } = { world: this.#world, random: this.#random };
      if (random.chance(world.storm('bus-lost') / 4)) world.fault('bus-lost', handOut.items.length);
      else if (random.chance(world.storm('bus-delayed'))) {
        world.fault('bus-delayed', handOut.items.length);
        late.push(handOut);
      } else if (handOut.items.length > 1 && random.chance(world.storm('bus-reordered'))) {
        world.fault('bus-reordered', handOut.items.length);
        kept.push({ ...handOut, items: [...handOut.items].reverse() });
      } else kept.push(handOut);
    }
    this.#late = late;
    return { ...reply, handOuts: kept };
  }
}
