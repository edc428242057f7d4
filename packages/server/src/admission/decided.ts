/** Who waits to hear how one member's entry was decided. Used by server-sent events; empty almost always, so an entry pays one look-up. */
import type { MemberKey } from '@doorbuster/core';
import type { AdmissionAnswer, AdmissionCommand } from '../ledger.ts';

type Listener = (answer: AdmissionAnswer) => void;

export class Decided {
  readonly #listeners = new Map<string, Set<Listener>>();

  on(campaignId: string, memberKey: MemberKey, listener: Listener): () => void {
    const key = `${campaignId} ${memberKey}`;
    const set = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, set);
    set.add(listener);
    return () => {
      set.delete(listener);
      if (set.size === 0 && this.#listeners.get(key) === set) this.#listeners.delete(key);
    };
  }

  tell(campaignId: string, commands: readonly AdmissionCommand[], answers: readonly AdmissionAnswer[]): void {
    if (this.#listeners.size === 0) return;
    for (let i = 0; i < answers.length; i += 1) {
      const set = this.#listeners.get(`${campaignId} ${commands[i]!.memberKey}`);
      if (set) for (const listener of set) listener(answers[i]!);
    }
  }
}
