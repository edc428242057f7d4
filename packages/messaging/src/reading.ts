/** From a message as it came to one a handler may see: decoded, made as new as the contract by its upcasters, and checked. */
import { describeError } from './attempts.ts';
import type { Channel } from './channel.ts';
import { decodeData } from './encoding.ts';
import type { Message } from './message.ts';

export type Reading = { readonly message: Message } | { readonly fault: string };

/** A promise only where the contract checks asynchronously. */
export function readMessage(channel: Channel, received: Message): Reading | Promise<Reading> {
  let message: Message;
  try {
    message = upcast(channel, received);
  } catch (error) {
    return { fault: describeError(error) };
  }
  const fault = channel.check(message.data);
  if (fault instanceof Promise) return fault.then((found) => readingOf(message, found));
  return readingOf(message, fault);
}

function readingOf(message: Message, fault: string | undefined): Reading {
  return fault === undefined ? { message } : { fault };
}

function upcast(channel: Channel, message: Message): Message {
  const { version } = channel;
  if (message.version > version)
    throw new TypeError(`version ${message.version} is newer than the known ${version}`);
  let data = decodeData(channel, message);
  const { upcasters } = channel.definition;
  if (message.version === version || upcasters === undefined)
    return data === message.data ? message : { ...message, data };
  for (let from = message.version; from < version; from += 1) {
    const step = upcasters[from];
    if (!step) throw new TypeError(`no upcaster leads from version ${from} to ${version}`);
    data = step(data as never);
  }
  return { ...message, data, version };
}
