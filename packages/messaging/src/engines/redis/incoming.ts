/** What comes from the server as deliveries: what a script lent, and what a read took from the stream. */
import { decodeCloudEvent } from '../../cloud-event.ts';
import type { Delivery, DeliveryToken } from '../../engine.ts';
import { type Binding, isBound, type RoutingKind } from '../../routing.ts';
import type { Entry } from './reader.ts';

/** Token, event, state or null, abandoned: four of each. */
export type Lent = readonly (string | number | null)[];

/** What a subscription takes of its channel. */
export interface Wanted {
  readonly routing: RoutingKind;
  readonly bindings: readonly Binding[];
}

export function wantedOf(routing: string, bindings: string): Wanted {
  return {
    routing: routing === '' ? 'fanout' : (routing as RoutingKind),
    bindings: bindings === '' ? [] : (JSON.parse(bindings) as Binding[]),
  };
}

/** What was tried or redriven belongs to the subscription already, whatever its bindings are by now; what is no message is everybody's. */
export function isWanted({ message, state }: Delivery, { routing, bindings }: Wanted): boolean {
  return (
    routing === 'fanout' ||
    state !== undefined ||
    message === undefined ||
    isBound(routing, bindings, message)
  );
}

export function deliveriesOfLent(lent: Lent): Delivery[] {
  const deliveries: Delivery[] = [];
  for (let index = 0; index + 3 < lent.length; index += 4)
    deliveries.push(
      deliveryOf(
        lent[index] as string,
        lent[index + 1] as string,
        (lent[index + 2] as string | null) ?? undefined,
        lent[index + 3] as number,
      ),
    );
  return deliveries;
}

/** A first hand-out: nothing was tried. */
export function deliveryOfEntry([, fields]: Entry, token: number): Delivery {
  return deliveryOf(token, fields[0] === 'event' ? (fields[1] ?? '') : bodyOf(fields), undefined, 0);
}

/** A first hand-out of a shard, whose script has found the event in it. */
export function deliveryOfEvent(event: string, token: number): Delivery {
  return deliveryOf(token, event, undefined, 0);
}

/** A stranger may have added other fields, or none that is an event: then the entry itself is the body. */
export function bodyOf(fields: readonly string[]): string {
  const all: Record<string, string> = {};
  for (let index = 0; index + 1 < fields.length; index += 2)
    all[fields[index] as string] = fields[index + 1] as string;
  return all['event'] ?? JSON.stringify(all);
}

function deliveryOf(
  token: DeliveryToken,
  raw: string,
  state: string | undefined,
  abandoned: number,
): Delivery {
  try {
    return { token, message: decodeCloudEvent(raw), raw, state, abandoned };
  } catch (error) {
    return { token, message: undefined, malformed: (error as Error).message, raw, state, abandoned };
  }
}
