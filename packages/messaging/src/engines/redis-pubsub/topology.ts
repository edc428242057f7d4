/** The channels that were declared here. Nothing is made on the server: a channel of Pub/Sub is there while somebody listens. */
import type { Topology } from '../../engine.ts';
import { unsupported } from './capabilities.ts';

export class DeclaredChannels {
  readonly #names = new Set<string>();

  declare({ channels }: Topology): void {
    for (const { name, order, priorityLevels } of channels) {
      if (order === 'key') throw unsupported(`channel "${name}": order per key`);
      if (priorityLevels > 1) throw unsupported(`channel "${name}": priorities`);
      this.#names.add(name);
    }
  }

  names(): readonly string[] {
    return [...this.#names].toSorted();
  }
}
