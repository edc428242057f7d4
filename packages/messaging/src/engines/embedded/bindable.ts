/**
 * Looks at an operation before it joins a turn: SQLite throws on values it cannot bind (an object, a symbol), and an error in the middle of a turn ends
 * the store, because the neighbours' work is half done by then. Types refuse such values already; JavaScript does not.
 */
import { refuseBadFilter } from '../../dead-letter-filter.ts';
import type { ReplayPoint } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { isToken } from './sound-settlement.ts';
import type { Operation } from './turn.ts';

/** Throws DB_MSG_INVALID_OPTIONS; nothing has been written then. */
export function refuseUnbindable(operation: Operation): void {
  switch (operation.op) {
    case 'declare':
      for (const { name } of operation.topology.channels) text('name', name);
      for (const { channel, name } of operation.topology.subscriptions) texts({ channel, name });
      for (const { channel, name } of operation.topology.removed ?? []) texts({ channel, name });
      return;
    case 'publish':
      for (const { channel, key } of operation.rows) {
        text('channel', channel);
        if (key !== null) text('key', key);
      }
      return;
    case 'subscribe':
      if (!Number.isFinite(operation.leaseMs)) throw invalid('leaseMs is a number');
      if (!Number.isSafeInteger(operation.prefetch)) throw invalid('prefetch is a whole number');
      return texts({ channel: operation.channel, subscription: operation.subscription });
    case 'extend':
      if (!operation.tokens.every(isToken)) throw invalid('a token is that of a delivery');
      return;
    case 'peek':
      return texts({ channel: operation.channel, subscription: operation.subscription });
    case 'rewind':
      refuseBadPoint(operation.from);
      return texts({ channel: operation.channel, subscription: operation.subscription });
    case 'listDead':
      if (operation.after !== undefined) text('after', operation.after);
      return refuseBadFilter(operation.filter);
    case 'redrive':
    case 'discard':
      return refuseBadFilter(operation.filter);
    case 'redriveEdited':
      return texts({ id: operation.id, state: operation.state });
    default:
  }
}

function refuseBadPoint(from: ReplayPoint): void {
  if (from === 'earliest' || from === 'latest') return;
  if (typeof from === 'object' && from !== null) {
    if ('offset' in from) return text('offset', from.offset);
    if ('timeMs' in from && Number.isFinite(from.timeMs)) return;
  }
  throw invalid('a point to go to is "earliest", "latest", a time in ms since the epoch or an offset');
}

function texts(values: Readonly<Record<string, unknown>>): void {
  for (const name in values) text(name, values[name]);
}

function text(name: string, value: unknown): void {
  if (typeof value !== 'string') throw invalid(`${name} has to be a text, not ${typeof value}`);
}

function invalid(detail: string): MessagingError {
  return new MessagingError('DB_MSG_INVALID_OPTIONS', detail);
}
