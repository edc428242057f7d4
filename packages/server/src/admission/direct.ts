/**
 * Direct intake: the answer carries the verdict. One campaign's gate in front, its micro-batch behind; an answer leaves only when the
 * ledger's commit has come back.
 */
import type { Clock } from '@doorbuster/messaging';
import type { AdmissionAnswer, AdmissionCommand, AdmissionLedger } from '../ledger.ts';
import type { Gate } from './gate.ts';
import { type Defer, MicroBatch, type Waiter } from './micro-batch.ts';

export interface DirectIntakeOptions {
  readonly gate: Gate;
  readonly ledger: AdmissionLedger;
  readonly clock: Clock;
  readonly limit: number;
  readonly defer: Defer;
  readonly onAnswers: (
    commands: readonly AdmissionCommand[],
    answers: readonly AdmissionAnswer[],
    ms: number,
  ) => void;
}

export class DirectIntake {
  readonly #gate: Gate;
  readonly #batch: MicroBatch;

  constructor({ gate, ledger, clock, limit, defer, onAnswers }: DirectIntakeOptions) {
    this.#gate = gate;
    this.#batch = new MicroBatch({
      admit: (commands) =>
        ledger.admit(gate.campaignId, commands).catch((error: unknown) => {
          gate.uncertain(commands);
          throw error;
        }),
      limit,
      clock,
      defer,
      onAnswers: (commands, answers, ms) => {
        gate.committed(commands, answers);
        onAnswers(commands, answers, ms);
      },
    });
  }

  get waiting(): number {
    return this.#batch.waiting;
  }

  /** What the gate knows for certain of this member; null: the ledger has to be asked. */
  refusal(memberKey: string): AdmissionAnswer | null {
    const refusal = this.#gate.refusal();
    if (refusal === null || this.#gate.mayBeIn(memberKey) || this.#batch.isUnderWay(memberKey)) return null;
    return refusal;
  }

  get isFull(): boolean {
    return this.#batch.isFull;
  }

  /** Throws ADMISSION_FULL; then nothing was decided and the waiter is not told. */
  submit(command: AdmissionCommand, waiter: Waiter): void {
    this.#batch.submit(command, waiter);
  }

  settled(): Promise<void> {
    return this.#batch.settled();
  }
}
