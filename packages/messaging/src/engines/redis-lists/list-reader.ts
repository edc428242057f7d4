/** Which list a channel is, and what message a text in it is: a CloudEvent, or with `foreign: 'wrap'` whatever JSON a team pushes. */
import { decodeCloudEvent } from '../../cloud-event.ts';
import type { Message } from '../../message.ts';
import type { Settings } from './options.ts';

export class ListReader {
  readonly #settings: Settings;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  listOf(channel: string): string {
    return this.#settings.lists[channel] ?? `${this.#settings.prefix}:list:${channel}`;
  }

  /** Throws when there is none in it. */
  read(channel: string, text: string, number: number): Message {
    if (this.#settings.foreign === 'refuse') return decodeCloudEvent(text);
    const data: unknown = JSON.parse(text);
    if (typeof data === 'object' && data !== null && 'specversion' in data) return decodeCloudEvent(text);
    const list = this.listOf(channel);
    return {
      id: `${list}/${number}`,
      type: channel,
      version: 1,
      source: `redis-list:${list}`,
      time: '',
      data,
      headers: {},
    };
  }

  tryRead(channel: string, text: string, number: number): Message | undefined {
    try {
      return this.read(channel, text, number);
    } catch {
      return undefined;
    }
  }
}
