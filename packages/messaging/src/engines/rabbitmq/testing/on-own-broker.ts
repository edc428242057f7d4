/** Tests with a broker of one node that is their file's own. */
import { afterAll, beforeAll, describe } from 'vitest';
import { hasRabbitProgram, type OwnBroker, startOwnBroker } from '../own-broker.ts';

/** Up while the tests run; to be read in them, not where they are made. */
export interface Own {
  readonly broker: OwnBroker;
  readonly url: string;
}

export function describeOnOwnBroker(what: string, tests: (own: Own) => void): void {
  describe.skipIf(!hasRabbitProgram())(
    `${what} (needs rabbitmq-server on this machine)`,
    { timeout: 240_000 },
    () => {
      let started: OwnBroker | undefined;
      beforeAll(async () => {
        started = await startOwnBroker({ cluster: false });
      }, 120_000);
      afterAll(() => started?.destroy(), 60_000);
      tests({
        get broker(): OwnBroker {
          if (started === undefined) throw new Error('the broker has not been started yet');
          return started;
        },
        get url(): string {
          return this.broker.urls[0] ?? '';
        },
      });
    },
  );
}
