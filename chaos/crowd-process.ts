/** The crowd's process as its owner sees it: orders go in, reports come out, answers lie in a file. */
import { readFileSync } from 'node:fs';
import type { KeptAnswer } from '../packages/server/src/cli/demo/crowd.ts';
import { type StartedProcess, startProcess } from '../packages/server/src/acceptance/testing/process.ts';
import type { CrowdOrder, CrowdReport, EnterOrder } from './crowd-orders.ts';

type Told = CrowdReport['told'];
type ReportOf<T extends Told> = Extract<CrowdReport, { told: T }>;

export class CrowdProcess {
  readonly #process: StartedProcess;
  #waiting: { readonly [T in Told]: PromiseWithResolvers<CrowdReport> } = waiting();
  /** Of the campaign under way. */
  acknowledged = 0;

  private constructor(process: StartedProcess) {
    this.#process = process;
    void this.#listen();
  }

  static async start(): Promise<CrowdProcess> {
    const started = startProcess('chaos/crowd.ts', []);
    await started.next();
    return new CrowdProcess(started);
  }

  enter(order: EnterOrder): void {
    this.#waiting = waiting();
    this.acknowledged = 0;
    this.#order(order);
  }

  moveTo(url: string): void {
    this.#order({ order: 'url', url });
  }

  /** Everybody once more; then all answers of the campaign. */
  async return(
    answersFile: string,
  ): Promise<ReportOf<'returned'> & { readonly answers: readonly KeptAnswer[] }> {
    this.#order({ order: 'return', answersFile });
    const report = await this.told('returned');
    const lines = readFileSync(answersFile, 'utf8').split('\n').slice(0, -1);
    return { ...report, answers: lines.map((line) => JSON.parse(line) as KeptAnswer) };
  }

  /** Resolves with the first such report of this campaign; rejects when the process has ended. */
  told<T extends Told>(told: T): Promise<ReportOf<T>> {
    return this.#waiting[told].promise as Promise<ReportOf<T>>;
  }

  stop(): Promise<void> {
    return this.#process.kill('SIGKILL');
  }

  #order(order: CrowdOrder): void {
    this.#process.write(order);
  }

  async #listen(): Promise<void> {
    try {
      for (;;) {
        const report = (await this.#process.next()) as unknown as CrowdReport;
        if (report.told === 'acknowledged') this.acknowledged = report.count;
        this.#waiting[report.told].resolve(report);
      }
    } catch (error) {
      for (const one of Object.values(this.#waiting)) one.reject(error);
    }
  }
}

function waiting(): { readonly [T in Told]: PromiseWithResolvers<CrowdReport> } {
  const one = (): PromiseWithResolvers<CrowdReport> => {
    const made = Promise.withResolvers<CrowdReport>();
    made.promise.catch(() => undefined);
    return made;
  };
  return { acknowledged: one(), struck: one(), entered: one(), returned: one() };
}
