/** What this connection declared, kept so that it can be made again on a server that lost it. */
import type { ChannelSpec, Topology } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { ScriptRunner } from './scripts.ts';

export class DeclaredTopology {
  readonly #scripts: ScriptRunner;
  readonly #instance: string;
  readonly #channels = new Map<string, ChannelSpec>();
  readonly #subscriptions = new Map<string, { readonly channel: string; readonly name: string }>();

  constructor(scripts: ScriptRunner, instance: string) {
    this.#scripts = scripts;
    this.#instance = instance;
  }

  async declare({ channels, subscriptions, removed = [] }: Topology): Promise<void> {
    for (const spec of channels) await this.#declareChannel(spec);
    for (const one of subscriptions) await this.#declareSubscription(one.channel, one.name);
    for (const { channel, name } of removed) this.#subscriptions.delete(nameOf(channel, name));
  }

  async again(): Promise<void> {
    for (const spec of this.#channels.values()) await this.#declareChannel(spec);
    for (const { channel, name } of this.#subscriptions.values())
      await this.#declareSubscription(channel, name);
  }

  knows(channel: string): boolean {
    return this.#channels.has(channel);
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
    const { name, order, onFailure, priorityLevels, ephemeral } = spec;
    const owner = ephemeral ? this.#instance : '';
    await this.#scripts.run('declareChannel', [name, order, onFailure, priorityLevels, owner]);
    this.#channels.set(name, spec);
  }

  async #declareSubscription(channel: string, name: string): Promise<void> {
    if ((await this.#scripts.run('declareSubscription', [channel, name])) !== 1)
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" was never declared`);
    this.#subscriptions.set(nameOf(channel, name), { channel, name });
  }
}

const nameOf = (channel: string, name: string): string => JSON.stringify([channel, name]);
