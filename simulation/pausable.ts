/**
 * A worker that can be stopped in the middle, as SIGSTOP does: time goes on, its calls go through, and every answer and every timer waits until it
 * may run again.
 */
import type { CancelTimer, Clock } from '@doorbuster/messaging';

export class Pausable {
  #resume: (() => void) | null = null;
  #armed: (() => void) | null = null;
  #running: Promise<void> = Promise.resolve();

  get paused(): boolean {
    return this.#resume !== null;
  }

  pause(): void {
    if (this.#resume !== null) return;
    this.#running = new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  /** Stops when the next call to a provider has been answered, before the answer is read; then tells. */
  pauseAtNextCall(told: () => void): void {
    this.#armed = told;
  }

  resume(): void {
    this.#armed = null;
    this.#resume?.();
    this.#resume = null;
  }

  /** The same answer or failure, but not before the worker runs. */
  async hold<T>(answer: Promise<T>, outward = false): Promise<T> {
    try {
      return await answer;
    } finally {
      const told = this.#armed;
      if (outward && told !== null) {
        this.#armed = null;
        this.pause();
        told();
      }
      if (this.#resume !== null) await this.#running;
    }
  }

  /** An object whose promises are held; `outward` for what calls a provider. Methods that answer at once are left as they are. */
  holding<T extends object>(port: T, outward = false): T {
    return new Proxy(port, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          const answer: unknown = Reflect.apply(value, target, args);
          return answer instanceof Promise ? this.hold(answer, outward) : answer;
        };
      },
    });
  }

  clock(clock: Clock): Clock {
    return {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      setTimer: (ms, run): CancelTimer => {
        let cancelled = false;
        const cancel = clock.setTimer(ms, () => {
          if (this.#resume === null) return run();
          void this.#running.then(() => void (cancelled || run()));
        });
        return () => {
          cancelled = true;
          cancel();
        };
      },
    };
  }
}
