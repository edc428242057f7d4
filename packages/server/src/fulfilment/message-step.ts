/**
 * The third step of the saga: the voucher on its way to the member. Marked as shown before a messenger may carry it; refused: later, then the next
 * messenger; unknown: one more sending of the same voucher, then a person.
 */
import type { Voucher } from '../ledger.ts';
import { backoffMs, jitterMs } from './backoff.ts';
import { type ClaimedRun, LATER_SPREAD_MS, LOST, type Paused, type Step } from './claimed-run.ts';
import type { Messenger, SendResult } from './messenger.ts';
import type { ProviderGate } from './provider-gate.ts';
import { composeMessage } from './templates.ts';

interface Reachable {
  readonly messenger: Messenger;
  readonly gate: ProviderGate;
  readonly index: number;
}
const TWICE_UNKNOWN =
  'Two sendings of this voucher ended without an answer; it is not known whether the member has it.';

export class MessageStep {
  readonly #run: ClaimedRun;

  constructor(run: ClaimedRun) {
    this.#run = run;
  }

  async carry(voucher: Voucher): Promise<Step<never>> {
    const { unknownSendings, messageState } = this.#run.delivery;
    if (messageState === 'unknown' && unknownSendings > 1)
      return this.#run.parked('message-unknown', TWICE_UNKNOWN);
    const next = this.#nextMessenger(this.#run.delivery.messengerIndex);
    if (!next) return this.#nobodyReaches();
    const { messenger, gate } = next;
    const content = composeMessage(
      this.#run.delivery,
      voucher,
      this.#run.ports.pageUrl(this.#run.delivery.campaignId),
    );
    const passage = await this.#run.pass(
      gate,
      'send',
      { step: 'message-sending', messenger: messenger.name },
      (signal) => messenger.send({ ...content, voucher, signal }),
    );
    if (passage.kind === 'lost') return LOST;
    if (passage.kind === 'paused') return this.#messengerPaused(next, passage);
    const answer: SendResult =
      passage.kind === 'hung'
        ? { result: 'unknown', errorCode: 'timeout', detail: passage.detail }
        : passage.value;
    if (answer.result === 'sent') return { settle: { result: 'delivered', messenger: messenger.name } };
    if (answer.result === 'unknown')
      return this.#sendingUnknown(messenger.name, answer.errorCode, answer.detail);
    if (answer.retryAfterMs !== undefined) gate.backOff(answer.retryAfterMs);
    return this.#sendingRefused(next, answer);
  }

  #sendingUnknown(messenger: string, code: string, detail: string): Step<never> {
    if (this.#run.delivery.unknownSendings >= 1)
      return this.#run.parked('message-unknown', `${TWICE_UNKNOWN} Last: ${detail}`);
    const wait = backoffMs(this.#run.ports.limits.backoff, 1, this.#run.ports.randomness);
    return this.#run.settledLater('message-unknown', `message.${messenger}.${code}`, detail, wait);
  }

  async #sendingRefused(
    at: Reachable,
    answer: Extract<SendResult, { result: 'refused' }>,
  ): Promise<Step<never>> {
    const code = `message.${at.messenger.name}.${answer.errorCode}`;
    const failures = await this.#run.failures(`message.${at.messenger.name}.`);
    if (!answer.permanent && failures < this.#run.ports.limits.attemptsPerProvider) {
      const wait = backoffMs(
        this.#run.ports.limits.backoff,
        failures,
        this.#run.ports.randomness,
        answer.retryAfterMs,
      );
      return this.#run.settledLater('retry', code, answer.detail, wait);
    }
    const next = this.#nextMessenger(at.index + 1);
    if (!next) return this.#run.parked(code, answer.detail);
    return this.#run.settledNext(code, answer.detail, next.index);
  }

  /** Waits for the provider; one that stays away for as many claims as failures are allowed gives way to the next messenger. */
  #messengerPaused(at: Reachable, { retryAfterMs, reason }: Paused): Step<never> {
    const code = `message.${at.messenger.name}.paused`;
    const next =
      this.#run.delivery.attempts >= this.#run.ports.limits.attemptsPerProvider * (at.index + 1)
        ? this.#nextMessenger(at.index + 1)
        : null;
    if (next) return this.#run.settledNext(code, reason, next.index);
    const wait = retryAfterMs + jitterMs(this.#run.ports.randomness, Math.min(retryAfterMs, LATER_SPREAD_MS));
    return this.#run.settledLater('retry', code, reason, wait);
  }

  #nextMessenger(from: number): Reachable | null {
    const names = this.#run.delivery.definition.reward.messengers;
    for (let index = from; index < names.length; index += 1) {
      const found = this.#run.ports.messengers.get(names[index]!);
      if (found?.messenger.canReach(this.#run.delivery.contact ?? {})) return { ...found, index };
    }
    return null;
  }

  #nobodyReaches(): Step<never> {
    const names = this.#run.delivery.definition.reward.messengers.slice(this.#run.delivery.messengerIndex);
    const missing = names.filter((name) => !this.#run.ports.messengers.has(name));
    if (missing.length > 0) {
      return this.#run.parked(
        'messenger-missing',
        `Not in the configuration of this process: ${missing.join(', ')}.`,
      );
    }
    if (!this.#run.delivery.contact)
      return this.#run.parked('contact-missing', 'No contact is known; the voucher is on the result page.');
    return this.#run.parked(
      'contact-unusable',
      `None of ${names.join(', ')} can reach this contact; the voucher is on the result page.`,
    );
  }
}
