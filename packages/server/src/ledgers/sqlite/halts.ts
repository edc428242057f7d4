/** Lanes that stand still for a person: the ledger shows less than a witness saw. Nothing is decided on them; reading goes on. */
import { OperationalError } from '../../errors.ts';

export class Halts {
  readonly #reasons = new Map<string, string>();

  halt(campaignId: string, reason: string): void {
    this.#reasons.set(campaignId, reason);
  }

  reasonOf(campaignId: string): string | null {
    return this.#reasons.get(campaignId) ?? null;
  }

  /** Throws LEDGER_HALTED. */
  check(campaignId: string): void {
    const reason = this.#reasons.get(campaignId);
    if (reason !== undefined)
      throw new OperationalError('LEDGER_HALTED', { detail: `${campaignId}: ${reason}` });
  }

  all(): readonly { readonly campaignId: string; readonly reason: string }[] {
    return [...this.#reasons].map(([campaignId, reason]) => ({ campaignId, reason }));
  }
}
