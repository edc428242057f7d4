/** How often a client asks its server for something, for what must not be asked without a pause. */
import type { RedisClient } from '../client.ts';

/** The event loop has gone round. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class CallCount {
  calls = 0;
  readonly #isCounted: (args: readonly string[]) => boolean;
  #underWay = 0;

  constructor(isCounted: (args: readonly string[]) => boolean) {
    this.#isCounted = isCounted;
  }

  readonly wrap = (client: RedisClient): RedisClient => ({
    ...client,
    send: async (args) => {
      if (this.#isCounted(args)) this.calls += 1;
      if (args[0] === 'BLMOVE' || args.includes('BLOCK')) return client.send(args);
      this.#underWay += 1;
      return client.send(args).finally(() => (this.#underWay -= 1));
    },
  });

  /** Nothing is under way but what blocks until something comes, and what was answered last has been taken. */
  async rest(): Promise<void> {
    for (let quiet = 0; quiet < 5; quiet += 1) {
      if (this.#underWay > 0) quiet = 0;
      await turn();
    }
  }

  /** How often within a second of a clock that moves by hundredths of it, with all the time that the answers need in between. */
  async inOneSecond(clock: { advance(ms: number): void }): Promise<number> {
    await this.rest();
    this.calls = 0;
    for (let step = 0; step < 100; step += 1) {
      clock.advance(10);
      await this.rest();
    }
    return this.calls;
  }
}
