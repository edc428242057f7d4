/**
 * Doorbuster as it is run: `startServer` on a data directory of its own, with ledger threads, chain, receipts, outbox, relay, bus and fulfilment. The
 * campaign is prepared in the ledger before the server starts, and the sessions are made with the server's own keys, so that neither
 * imports nor hand-offs are measured.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLog, systemClock } from '@doorbuster/messaging';
import type { CampaignDefinition } from '../packages/server/src/campaign/definition.ts';
import { type Config, loadConfig } from '../packages/server/src/config.ts';
import { createSessions } from '../packages/server/src/http/auth/sessions.ts';
import type { Ledger } from '../packages/server/src/ledger.ts';
import { openSqliteLedger } from '../packages/server/src/ledgers/sqlite/open.ts';
import { startServer } from '../packages/server/src/main.ts';
import { secretsPath } from '../packages/server/src/paths.ts';
import { openSecrets } from '../packages/server/src/secrets.ts';
import { writeSessions } from './baseline.ts';
import { optionsOf, say, told } from './child-process.ts';
import { campaignId, type Ready, type SystemOptions, survey } from './system.ts';

const actor = { kind: 'cli', id: 'bench' } as const;
const rowsAtOnce = 1_000;
const many = 10_000_000;

const options = optionsOf<SystemOptions>();
const config = configOf(options);
const { secrets } = openSecrets(secretsPath(config), Date.now(), true);
await prepare();
const server = await startServer(config, {});
await opened();
const sessions = createSessions(secrets.sessions, 60, systemClock);
await say({ url: server.url, sessions: writeSessions(sessions, options) } satisfies Ready);
await told();
await server.close();
process.disconnect?.();

/** Everybody comes from one address, which no crowd does: the limits are raised, nothing else. */
function configOf({ directory }: SystemOptions): Config {
  return loadConfig({
    environment: {},
    flags: {
      dataDir: join(directory, 'data'),
      port: 0,
      logLevel: 'error',
      limits: { addressPerSecond: many, addressBurst: many },
      drainMs: 0,
      verifyEveryMinutes: 0,
    },
  });
}

async function prepare(): Promise<void> {
  const ledger = await openSqliteLedger({
    dataDir: config.dataDir,
    master: secrets.master,
    signingKeys: secrets.signing,
    log: silentLog,
    fatal: (error) => {
      throw error;
    },
  });
  await ledger.campaigns.create(campaignId, definitionOf(options), actor);
  await importCodes(ledger, options.units);
  await ledger.campaigns.publish(campaignId, actor);
  await ledger.close();
}

function definitionOf({ units }: SystemOptions): CampaignDefinition {
  return {
    title: { en: 'Benchmark' },
    prize: { en: 'One voucher' },
    startsAt: new Date(Date.now() - 60_000).toISOString(),
    stock: { capacity: units, closeWhenSoldOut: false },
    survey,
    reward: { voucherSource: 'pool', messengers: ['file'] },
  };
}

async function importCodes(ledger: Ledger, count: number): Promise<void> {
  const begun = await ledger.imports.begin(campaignId, 'voucher-codes', 'append', actor);
  if (!begun.ok) throw new Error(`the codes were refused: ${begun.code}`);
  for (let line = 1; line <= count; line += rowsAtOnce) {
    const rows = Array.from({ length: Math.min(rowsAtOnce, count - line + 1) }, (_, i) => ({
      line: line + i,
      code: `BENCH-${line + i}`,
    }));
    await ledger.imports.voucherCodes(begun.value, rows);
  }
  await ledger.imports.commit(begun.value);
}

/** The timekeeper opens the campaign within its first second. */
async function opened(): Promise<void> {
  for (;;) {
    const response = await fetch(`${server.url}/v1/campaigns/${campaignId}/status`);
    const { state } = (await response.json()) as { readonly state?: string };
    if (state === 'open') return;
    await sleep(50);
  }
}
