/**
 * What is written down about subscriptions: their bindings, in one small compacted topic. Kafka keeps no free text beside a topic or a group, and
 * bindings that a deployment declared have to hold for a process that does not name them.
 */
import type { Binding } from '../../routing.ts';
import type { SubscriptionName } from '../../engine.ts';
import type { Logs } from './logs.ts';
import type { Publisher } from './publisher.ts';

const PARTITION = 0;

export class Registry {
  readonly topic: string;
  readonly #logs: Logs;
  readonly #publisher: Publisher;
  readonly #bindings = new Map<string, readonly Binding[]>();
  #position = 0;

  constructor(topic: string, logs: Logs, publisher: Publisher) {
    this.topic = topic;
    this.#logs = logs;
    this.#publisher = publisher;
  }

  bindingsOf(name: SubscriptionName): readonly Binding[] {
    return this.#bindings.get(keyOf(name)) ?? [];
  }

  /** Reads on to the end. */
  async refresh(): Promise<void> {
    const [end = 0] = await this.#logs.ends(this.topic);
    if (this.#position >= end) return;
    await this.#logs.read(this.topic, PARTITION, this.#position, end, (records, next) => {
      for (const { key, value } of records) {
        const name = key?.toString() ?? '';
        if (value === null) this.#bindings.delete(name);
        else this.#bindings.set(name, bindingsIn(value.toString()));
      }
      this.#position = next;
    });
  }

  async bind(name: SubscriptionName, bindings: readonly Binding[]): Promise<void> {
    const text = JSON.stringify(bindings);
    if (JSON.stringify(this.#bindings.get(keyOf(name))) === text) return;
    await this.#write(name, Buffer.from(text));
    this.#bindings.set(keyOf(name), bindings);
  }

  async forget(name: SubscriptionName): Promise<void> {
    if (!this.#bindings.delete(keyOf(name))) return;
    await this.#write(name, undefined);
  }

  async #write(name: SubscriptionName, value: Buffer | undefined): Promise<void> {
    const parcel = { key: Buffer.from(keyOf(name)), value, headers: [] };
    await this.#publisher.send(this.topic, [{ partition: PARTITION, parcel }]);
  }
}

/** What is no list of bindings takes nothing, rather than stop every process that reads on. */
export function bindingsIn(text: string): readonly Binding[] {
  try {
    const found: unknown = JSON.parse(text);
    return Array.isArray(found) ? (found as readonly Binding[]) : [];
  } catch {
    return [];
  }
}

function keyOf({ channel, name }: SubscriptionName): string {
  return JSON.stringify([channel, name]);
}
