/**
 * What was handled in each tenth of a second of a run, by worker, with the kills between them: where a run stands still after a kill, and for how long. It
 * reads the ledger beside the workers, so it costs them a little; no verdict comes from it.
 */
import type { Ledger } from './ledger.ts';

const stepMs = 100;

export class Timeline {
  readonly #ledger: Ledger;
  readonly #began = performance.now();
  readonly #write: (line: string) => void;
  readonly #timer: NodeJS.Timeout;
  #place = 0;

  /** `write` gets a line a step and a line a mark, both beginning with the ms since the timeline was made. */
  constructor(ledger: Ledger, write: (line: string) => void) {
    this.#ledger = ledger;
    this.#write = write;
    this.#timer = setInterval(() => this.#step(), stepMs);
  }

  mark(what: string): void {
    this.#write(`${this.#at()} ${what}`);
  }

  #step(): void {
    const { last, workers } = this.#ledger.since(this.#place);
    this.#place = last;
    const total = workers.reduce((sum, { count }) => sum + count, 0);
    const shares = workers.map(({ worker, count }) => `${worker}:${count}`).join(' ');
    this.#write(`${this.#at()} ${String(total).padStart(5)}  ${shares}`);
  }

  #at(): string {
    return String(Math.round(performance.now() - this.#began)).padStart(7);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
