/** From a message as it came to one a handler may see: decoded, made as new as the contract by its upcasters, and read by it. */
import { describeError } from './errors.ts';
import type { Channel } from './channel.ts';
import type { ReadData } from './contract.ts';
import { decodeData, decodedVersion } from './encoding.ts';
import type { Message } from './message.ts';
import { isPromise } from './outcome.ts';

export type Reading = { readonly message: Message } | { readonly fault: string };

/** A promise only where the contract checks asynchronously. Neither throws nor rejects. */
export function readMessage(channel: Channel, received: Message): Reading | Promise<Reading> {
  let message: Message;
  try {
    message = upcast(channel, received);
  } catch (error) {
    return { fault: describeError(error) };
  }
  const read = channel.read(message.data);
  if (read instanceof Promise) return read.then((some) => readingOf(message, some));
  return readingOf(message, read);
}

function readingOf(message: Message, read: ReadData): Reading {
  if ('fault' in read) return read;
  return { message: read.data === message.data ? message : { ...message, data: read.data } };
}

function upcast(channel: Channel, message: Message): Message {
  const { version } = channel;
  if (message.version > version)
    throw new TypeError(`version ${message.version} is newer than the known ${version}`);
  let data = decodeData(channel, message);
  const { upcasters } = channel.definition;
  const written = decodedVersion(channel, message);
  if (written === version || upcasters === undefined)
    return data === message.data ? message : { ...message, data };
  for (let from = written; from < version; from += 1) {
    const step = upcasters[from];
    if (!step) throw new TypeError(`no upcaster leads from version ${from} to ${version}`);
    data = notPromised(step(data as never), from);
  }
  return { ...message, data, version };
}

/** As data it would be an empty object to most contracts. It is not waited for: upcasters only reshape, and what asks somebody else belongs into the handler. */
function notPromised(data: unknown, from: number): unknown {
  if (!isPromise(data)) return data;
  // Nobody else hears of its rejection, which would end the process.
  Promise.resolve(data).catch(() => {});
  throw new TypeError(
    `the upcaster from version ${from} gave a promise: let it return the data itself, and look up what is missing in the handler`,
  );
}
