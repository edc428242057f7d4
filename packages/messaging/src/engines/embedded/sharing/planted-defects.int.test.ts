/**
 * Negative controls of sharing: defects between the socket and the hub, and a confirm of what the host has not stored, each of which the suite has to catch. Of the engines with a
 * server that dies in the suite this one's is back soonest, so that case has its control here.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, it } from 'vitest';
import { systemClock } from '../../../clock.ts';
import { caseNamed, onFixture, registerControls } from '../../../conformance/controls.ts';
import { type EngineFixture, limitPatience } from '../../../conformance/fixture.ts';
import { conformanceCases } from '../../../conformance/suite.ts';
import { createSharedFixture, endKeeper } from '../conformance-fixture.ts';
import { confirmingFromMemory } from '../../../testing/planted-controls.ts';
import { createEmbeddedEngine } from '../engine.ts';
import { openWriterThread } from '../writer.ts';
import { listenOn } from './host.ts';
import { Hub, type HubSession } from './hub.ts';
import { socketPathOf } from './socket-path.ts';

/** Part of the name of the case that sees it, and what becomes of a session. */
const defects: Readonly<
  Record<string, { readonly seenBy: string; readonly of: (real: HubSession) => HubSession }>
> = {
  'leases survive their connection': {
    seenBy: 'SIGKILL between receive and handle',
    of: (real) => ({ run: (operations) => real.run(operations), end: async () => {} }),
  },
  'a lost connection counts as a farewell': {
    seenBy: 'SIGKILL between receive and handle',
    of: (real) => ({ run: (operations) => real.run(operations), end: () => real.end('leave') }),
  },
  'operations of one turn are done in any order': {
    seenBy: 'messages arrive once, oldest first',
    of: (real) => ({
      run: async (operations) =>
        (
          await real.run(
            operations.map((one) => (one.op === 'publish' ? { ...one, rows: one.rows.toReversed() } : one)),
          )
        ).toReversed(),
      end: (how) => real.end(how),
    }),
  },
};

const PATIENCE_MS = 4_000;
limitPatience(PATIENCE_MS);

/** Hosts in this process, with the defect in every session. */
async function defectiveFixture(of: (real: HubSession) => HubSession): Promise<EngineFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'defect-'));
  const path = join(folder, 'bus.db');
  const onLost = (error: Error): never => {
    throw error;
  };
  const store = { durable: true, keepUnsubscribedMs: 60_000 };
  const writer = await openWriterThread({ path, options: store }, onLost);
  const hub = new Hub({ writer, clock: systemClock, maxMessageBytes: 2 ** 20, onLost });
  const join_ = hub.join.bind(hub);
  hub.join = (receive) => of(join_(receive));
  const host = await listenOn(socketPathOf(path), hub, systemClock);
  return {
    open: () => createEmbeddedEngine({ path, share: true }),
    child: {
      module: new URL('../conformance-fixture.ts', import.meta.url),
      argument: JSON.stringify({ path, share: true }),
    },
    async destroy() {
      await host.close();
      await hub.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

describe('defects planted between the socket and the hub', { timeout: 30_000 }, () => {
  registerControls(
    it,
    'embedded, shared',
    Object.entries(defects).map(([defect, { seenBy, of }]) => {
      const { name, run } = caseNamed(conformanceCases, seenBy);
      return {
        defect,
        caughtBy: name,
        healthy: () => onFixture(() => defectiveFixture((real) => real), run),
        defective: () => onFixture(() => defectiveFixture(of), run),
      };
    }),
  );
});

describe('a host in another process that is killed', { timeout: 30_000 }, () => {
  const { name, run } = caseNamed(conformanceCases, 'a server that is killed under load');
  afterAll(endKeeper);
  registerControls(it, 'embedded, shared', [
    {
      defect: 'a publish is confirmed before the host has stored it',
      caughtBy: name,
      healthy: () => onFixture(createSharedFixture, run),
      defective: async () => {
        // Nothing but the end is waited for in vain, a second after a healthy run has everything.
        limitPatience(PATIENCE_MS / 4);
        try {
          await onFixture(createSharedFixture, (fixture) => run(confirmingFromMemory(fixture)));
        } finally {
          limitPatience(PATIENCE_MS);
        }
      },
    },
  ]);
});
