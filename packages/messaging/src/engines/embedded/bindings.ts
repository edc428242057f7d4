/**
 * What the bindings of a subscription take, by position. A log is one for all its subscriptions, so a message is stored once, whoever takes
 * it, and acknowledging still costs no row: a cursor passes over what is not its own. Bindings are kept with the position from
 * which they hold, because they may change while messages wait: each message is read by those under which it was published.
 */
import { decodeCloudEvent } from '../../cloud-event.ts';
import type { Message } from '../../message.ts';
import { type Binding, isBound, type RoutingKind } from '../../routing.ts';
import type { Cursor, Log } from './state.ts';
import type { Statements } from './statements.ts';

export interface BindingRecord {
  readonly since: number;
  readonly bindings: readonly Binding[];
}

/** Bindings as they are stored. What is no list of them takes nothing, rather than make the file unreadable for every later process. */
export function readBindings(text: string): readonly Binding[] {
  try {
    const found: unknown = JSON.parse(text);
    return Array.isArray(found) ? (found as readonly Binding[]) : [];
  } catch {
    return [];
  }
}

/** The route of a stored message as JSON. A payload that is no CloudEvent has neither key nor headers. */
export function routeOf(kind: RoutingKind, body: string): string {
  const { routingKey, headers } = routedOf(body);
  return JSON.stringify(kind === 'headers' ? headers : (routingKey ?? ''));
}

function routedOf(body: string): Pick<Message, 'routingKey' | 'headers'> {
  try {
    return decodeCloudEvent(body);
  } catch {
    return { headers: {} };
  }
}

/** Whether the subscription takes the message at this position. */
export function takes(
  kind: RoutingKind,
  records: readonly BindingRecord[],
  position: number,
  route: string | null,
): boolean {
  if (kind === 'fanout' || route === null) return true;
  const record = records.findLast(({ since }) => since <= position);
  return record !== undefined && isBound(kind, record.bindings, routeFrom(route));
}

function routeFrom(text: string): Pick<Message, 'routingKey' | 'headers'> {
  const route = JSON.parse(text) as string | Record<string, string>;
  return typeof route === 'string' ? { routingKey: route, headers: {} } : { headers: route };
}

/** Whether a cursor takes what is published now. */
export function takesNow(kind: RoutingKind, { bindings }: Cursor, route: string): boolean {
  return takes(kind, bindings, Number.POSITIVE_INFINITY, route);
}

/** Tells the cursors of a log that its newest message, with this route, is there: those that do not take it pass over it. */
export function passOver(log: Log, cursors: readonly Cursor[], route: string): void {
  for (const cursor of cursors) {
    if (takes(log.routing, cursor.bindings, log.head, route)) continue;
    if (cursor.next === log.head) {
      cursor.next += 1;
      cursor.dirty = true;
    } else cursor.unbound += 1;
  }
}

/** Counts again what a cursor has before it and does not take. */
export function countUnbound(sql: Statements, cursor: Cursor): void {
  cursor.unbound = 0;
  const { log } = cursor;
  if (log.routing === 'fanout') return;
  for (const row of sql.readRoutes.iterate(cursor.next, log.head) as unknown as Iterable<{
    position: number;
    route: string | null;
  }>)
    if (!takes(log.routing, cursor.bindings, row.position, row.route)) cursor.unbound += 1;
}

/** Makes these the bindings of a subscription from the next message on; its first ones hold for all that is still kept. */
export function bind(
  sql: Statements,
  subscription: { readonly id: number },
  cursor: Cursor,
  bindings: readonly Binding[],
): void {
  const { log } = cursor;
  const current = cursor.bindings.at(-1);
  const text = JSON.stringify(bindings);
  if (current && JSON.stringify(current.bindings) === text) return;
  const since = current ? log.head + 1 : log.base;
  sql.setBindings.run(subscription.id, log.log, since, text);
  // What held only for purged messages is of no use any more.
  const kept = cursor.bindings.filter((one) => one.since !== since);
  const oldest = kept.findLast((one) => one.since <= log.floor)?.since ?? 0;
  sql.deleteBindingsBefore.run(subscription.id, log.log, oldest);
  cursor.bindings = [...kept.filter((one) => one.since >= oldest), { since, bindings }];
}
