/**
 * Which dead letters have been taken back in a partition while this process owns it. Kafka has no step that takes a letter away from everybody else: two processes that redrive
 * at once write two copies of one message, and so does a redrive that begins anew after one was killed half-way. But all copies come to the same
 * partition, and its owner takes the first. Letters have ids of their own for each parking, so a second copy of one is never meant.
 *
 * Kept in memory, not in the ledger: a copy that comes after its partition went to another owner finds nothing here. For that a redrive must have looked before the first
 * copy was settled and written after the change, because the letter ends before its copy is settled.
 */

/** In a partition. Steps of a redrive are 200 letters, so two copies lie that far apart, or a parked sequence further. */
const MOST = 10_000;

export class TakenBack {
  readonly #seen = new Set<string>();

  /** Two different corrections of one letter are two messages, so the message's id counts too. */
  isFirst(letterId: string, messageId = ''): boolean {
    const copy = `${letterId} ${messageId}`;
    if (this.#seen.has(copy)) return false;
    this.#seen.add(copy);
    if (this.#seen.size > MOST) {
      const [oldest = ''] = this.#seen;
      this.#seen.delete(oldest);
    }
    return true;
  }
}
