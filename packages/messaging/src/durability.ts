/** What is weaker than what, for whoever judges or states a durability. The words themselves are the channel's (`channel.ts`). */
import type { Durability } from './channel.ts';

const STRENGTH: Readonly<Record<Durability, number>> = { none: 0, memory: 1, disk: 2, replicated: 3 };

export function isWeaker(one: Durability, than: Durability): boolean {
  return STRENGTH[one] < STRENGTH[than];
}
