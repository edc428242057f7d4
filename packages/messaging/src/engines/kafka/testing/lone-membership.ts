/** A member of a group without a reader behind it. */
import type { Clock } from '../../../clock.ts';
import { Membership, type MembershipParts } from '../membership.ts';
import type { KafkaSettings } from '../options.ts';

export const loneMembership = (
  settings: KafkaSettings,
  clock: Clock,
  parts: Partial<MembershipParts> = {},
): Membership =>
  new Membership({
    settings,
    clock,
    group: 'g',
    topic: 't',
    beforeRejoin: async () => {},
    onAssigned: () => {},
    holderOf: async () => undefined,
    ask: async () => {},
    onTrouble: () => {},
    ...parts,
  });
