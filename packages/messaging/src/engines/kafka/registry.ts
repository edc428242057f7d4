/**
 * What is written down about subscriptions: their bindings, in one small compacted topic. Kafka keeps no free text beside a topic or a group, and
 * bindings that a deployment declared have to hold for a process that does not name them.
 *
 * Others may write there too. What is no record says nothing of what is bound: those that were known stay in force, or everything that they take would be
 * settled as unwanted. Where none is known, nobody can tell what is wanted, and whoever needs to know is told so.
 */
import { type Binding, isBinding } from '../../routing.ts';
import type { SubscriptionName } from '../../engine.ts';
import type { Logs } from './logs.ts';
import type { KafkaSettings } from './options.ts';
import type { Publisher } from './publisher.ts';

const PARTITION = 0;

export interface RegistryParts {
  readonly topic: string;
  readonly logs: Pick<Logs, 'ends' | 'read'>;
  readonly publisher: Pick<Publisher, 'send'>;
  readonly onNotice: KafkaSettings['onNotice'];
}

export class Registry {
  readonly topic: string;
  readonly #parts: RegistryParts;
  readonly #bindings = new Map<string, readonly Binding[]>();
  /** Whose latest record is none. */
  readonly #unreadable = new Set<string>();
  #position = 0;

  constructor(parts: RegistryParts) {
    this.topic = parts.topic;
    this.#parts = parts;
  }

  /** None where nothing is on record; undefined where there is something that cannot be read, and nothing else is known. */
  bindingsOf(name: SubscriptionName): readonly Binding[] | undefined {
    return this.#bindings.get(keyOf(name)) ?? (this.isUnreadable(name) ? undefined : []);
  }

  isUnreadable(name: SubscriptionName): boolean {
    return this.#unreadable.has(keyOf(name));
  }

  /** Reads on to the end. */
  async refresh(): Promise<void> {
    const { logs } = this.#parts;
    const [end = 0] = await logs.ends(this.topic);
    if (this.#position >= end) return;
    await logs.read(this.topic, PARTITION, this.#position, end, (records, next) => {
      for (const { key, value } of records) this.#note(key?.toString() ?? '', value?.toString());
      this.#position = next;
    });
  }

  async bind(name: SubscriptionName, bindings: readonly Binding[]): Promise<void> {
    const text = JSON.stringify(bindings);
    const isOnRecord = JSON.stringify(this.#bindings.get(keyOf(name))) === text && !this.isUnreadable(name);
    if (isOnRecord) return;
    await this.#write(name, Buffer.from(text));
    this.#bindings.set(keyOf(name), bindings);
    this.#unreadable.delete(keyOf(name));
  }

  async forget(name: SubscriptionName): Promise<void> {
    const wasUnreadable = this.#unreadable.delete(keyOf(name));
    if (!this.#bindings.delete(keyOf(name)) && !wasUnreadable) return;
    await this.#write(name, undefined);
  }

  #note(key: string, value: string | undefined): void {
    const bindings = value === undefined ? undefined : bindingsIn(value);
    if (value === undefined) this.#bindings.delete(key);
    else if (bindings) this.#bindings.set(key, bindings);
    else return this.#passOver(key);
    this.#unreadable.delete(key);
  }

  #passOver(key: string): void {
    const name = nameIn(key);
    if (!name) return;
    this.#unreadable.add(key);
    const isKnown = this.#bindings.has(key);
    this.#parts.onNotice({
      kind: 'unreadableBindings',
      channel: name.channel,
      subscription: name.name,
      isKnown,
    });
  }

  async #write(name: SubscriptionName, value: Buffer | undefined): Promise<void> {
    const parcel = { key: Buffer.from(keyOf(name)), value, headers: [] };
    await this.#parts.publisher.send(this.topic, [{ partition: PARTITION, parcel }]);
  }
}

/** Undefined for what is no record of ours. */
export function bindingsIn(text: string): readonly Binding[] | undefined {
  const found = parsed(text);
  return Array.isArray(found) && found.every(isBinding) ? found : undefined;
}

function keyOf({ channel, name }: SubscriptionName): string {
  return JSON.stringify([channel, name]);
}

function nameIn(key: string): SubscriptionName | undefined {
  const found = parsed(key);
  const [channel, name] = Array.isArray(found) ? (found as readonly unknown[]) : [];
  return typeof channel === 'string' && typeof name === 'string' ? { channel, name } : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
