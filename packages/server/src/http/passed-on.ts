/**
 * What the short way already did for a request that it then passed on to the router: the address has been counted, and the body may have been read.
 * Hooks of the full way look here first, so that nothing is counted or read twice.
 */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { LimitState } from '../admission/turnstile.ts';

interface PassedOn {
  readonly address: LimitState;
  readonly body: Buffer | null;
}

const requests = new WeakMap<IncomingMessage, PassedOn>();

export function passOn(request: IncomingMessage, address: LimitState, body: Buffer | null): void {
  requests.set(request, { address, body });
}

/** How the request was counted; null when it was not. */
export function countedAddress(request: IncomingMessage): LimitState | null {
  return requests.get(request)?.address ?? null;
}

/** The body that was read, once more as a stream; null when it still is to be read from the request. */
export function readAgain(request: IncomingMessage): Readable | null {
  const body = requests.get(request)?.body;
  if (!body) return null;
  const stream = new Readable({ read: () => undefined });
  stream.push(body);
  stream.push(null);
  return stream;
}
