/** What this connection declared, kept so that it can be made again on a server that lost it. A channel is one list and belongs to one subscription. */
import type { ChannelSpec, SubscriptionName, Topology } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { refuseUnsupported, unsupported } from './capabilities.ts';
import type { ListReader } from './list-reader.ts';
import type { ListsScripts } from './scripts.ts';

export class DeclaredLists {
  readonly #scripts: ListsScripts;
  readonly #reader: ListReader;
  readonly #channels = new Map<string, ChannelSpec>();
  /** Channel -> the subscription that was declared here. */
  readonly #subscriptions = new Map<string, string>();

  constructor(scripts: ListsScripts, reader: ListReader) {
    this.#scripts = scripts;
    this.#reader = reader;
  }

  async declare({ channels, subscriptions, removed = [] }: Topology): Promise<void> {
    for (const spec of channels) {
      refuseUnsupported(spec);
      await this.#declare(spec, '');
      this.#channels.set(spec.name, spec);
    }
    for (const one of removed) await this.#remove(one);
    for (const { channel, name } of subscriptions) {
      const spec = this.#channels.get(channel);
      if (!spec)
        throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" was never declared`);
      await this.#declare(spec, name);
      this.#subscriptions.set(channel, name);
    }
  }

  async again(): Promise<void> {
    for (const spec of this.#channels.values()) await this.#declare(spec, '');
    for (const [channel, name] of this.#subscriptions)
      await this.#declare(this.#channels.get(channel) as ChannelSpec, name);
  }

  knows(channel: string): boolean {
    return this.#channels.has(channel);
  }

  ephemeral(): readonly string[] {
    return [...this.#channels.values()].flatMap(({ name, ephemeral }) => (ephemeral ? [name] : []));
  }

  refuseUnknown(channel: string, subscription: string): void {
    if (this.#subscriptions.get(channel) !== subscription)
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `subscription "${subscription}" of channel "${channel}" was never declared on this connection`,
      );
  }

  async #remove({ channel, name }: SubscriptionName): Promise<void> {
    if ((await this.#scripts.run('listsRemove', [channel, name])) === -1)
      throw new MessagingError(
        'DB_MSG_SUBSCRIPTION_BUSY',
        `subscription "${name}" of channel "${channel}" has consumers; stop them everywhere before it is forgotten`,
      );
    if (this.#subscriptions.get(channel) === name) this.#subscriptions.delete(channel);
  }

  async #declare({ name: channel, ephemeral }: ChannelSpec, subscription: string): Promise<void> {
    const args = [channel, this.#reader.listOf(channel), subscription, ephemeral ? 1 : 0];
    const has = await this.#scripts.run('listsDeclare', args);
    if (subscription !== '' && has !== subscription)
      throw unsupported(
        `channel "${channel}" is one list and belongs to subscription "${String(has)}"; "${subscription}" needs an engine with streams, or a channel of its own`,
      );
  }
}
