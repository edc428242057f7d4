/** What this connection declared, kept so that it can be made again on a server that lost it. */
import type { ChannelSpec, SubscriptionName, SubscriptionSpec, Topology } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { StreamScripts } from './scripts.ts';

export class DeclaredTopology {
  readonly #scripts: StreamScripts;
  readonly #instance: string;
  readonly #shards: number;
  readonly #channels = new Map<string, ChannelSpec>();
  readonly #subscriptions = new Map<string, SubscriptionSpec>();

  constructor(scripts: StreamScripts, instance: string, shards: number) {
    this.#scripts = scripts;
    this.#instance = instance;
    this.#shards = shards;
  }

  async declare({ channels, subscriptions }: Topology): Promise<void> {
    for (const spec of channels) await this.#declareChannel(spec);
    for (const one of subscriptions) await this.#declareSubscription(one);
  }

  /** What lies beside the streams is left for the caller to sweep. */
  async forget({ channel, name }: SubscriptionName): Promise<void> {
    if ((await this.#scripts.run('removeSubscription', [channel, encodeURIComponent(name), name])) !== 1)
      throw new MessagingError(
        'DB_MSG_SUBSCRIPTION_BUSY',
        `subscription "${name}" of channel "${channel}" has consumers; stop them everywhere before it is forgotten`,
      );
    this.#subscriptions.delete(nameOf(channel, name));
  }

  async again(): Promise<void> {
    for (const spec of this.#channels.values()) await this.#declareChannel(spec);
    for (const one of this.#subscriptions.values()) await this.#declareSubscription(one);
  }

  knows(channel: string): boolean {
    return this.#channels.has(channel);
  }

  /** Whether its messages are their bodies, for all that this process knows. */
  isPlain(channel: string): boolean {
    const spec = this.#channels.get(channel);
    return spec !== undefined && spec.order === 'none' && spec.priorityLevels === 1;
  }

  channels(): readonly string[] {
    return [...this.#channels.keys()];
  }

  ephemeral(): readonly string[] {
    return [...this.#channels.values()].flatMap(({ name, ephemeral }) => (ephemeral ? [name] : []));
  }

  refuseUnknown(channel: string, name: string): void {
    if (!this.#subscriptions.has(nameOf(channel, name)))
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `subscription "${name}" of channel "${channel}" was never declared on this connection`,
      );
  }

  async #declareChannel(spec: ChannelSpec): Promise<void> {
    const { name, order, onFailure, priorityLevels, ephemeral, routing, keepMs } = spec;
    const owner = ephemeral ? this.#instance : '';
    const args = [name, order, onFailure, priorityLevels, owner, routing, keepMs ?? '', this.#shards];
    if ((await this.#scripts.run('declareChannel', args)) !== 1)
      throw new MessagingError(
        'DB_MSG_CHANNEL_CONTRADICTION',
        `channel "${name}" was made without priorities and keeps its order in shards, which have none: name another channel for messages with priorities`,
      );
    this.#channels.set(name, spec);
  }

  async #declareSubscription(spec: SubscriptionSpec): Promise<void> {
    const { channel, name, bindings } = spec;
    const record = bindings === undefined ? '' : JSON.stringify(bindings);
    if ((await this.#scripts.run('declareSubscription', [channel, name, record])) !== 1)
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" was never declared`);
    const known = this.#subscriptions.get(nameOf(channel, name));
    this.#subscriptions.set(nameOf(channel, name), { ...known, ...spec });
  }
}

const nameOf = (channel: string, name: string): string => JSON.stringify([channel, name]);
