/**
 * Which test files are under way, for a run that is ended from outside: a test whose process never turns its event loop again has no time-out, and nothing else names it.
 */
import type { Reporter, TestModule } from 'vitest/node';

export class RunningTests implements Reporter {
  readonly #running = new Set<TestModule>();

  onTestModuleStart(module: TestModule): void {
    this.#running.add(module);
  }

  onTestModuleEnd(module: TestModule): void {
    this.#running.delete(module);
  }

  /** As paths of this machine. */
  files(): readonly string[] {
    return [...this.#running].map(({ moduleId }) => moduleId);
  }
}
