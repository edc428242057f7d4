/**
 * Doorbuster as it is run: `startServer` on a prepared data directory, with ledger threads, chain, receipts, outbox, relay, bus and fulfilment,
 * which sends its mails over SMTP. Campaigns, codes, contacts and sessions were prepared, so that neither imports nor
 * hand-offs are measured. Answers `memory`.
 */
import { BroadcastChannel } from 'node:worker_threads';
import { type Config, loadConfig } from '../packages/server/src/config.ts';
import { startServer } from '../packages/server/src/main.ts';
import { optionsOf, say, told } from './child-process.ts';
import { collectChannel, type Ready, type ServerOptions } from './system.ts';

export interface Memory {
  readonly rss: number;
}

const many = 10_000_000;

const server = await startServer(configOf(optionsOf<ServerOptions>()), {});
await say({ url: server.url } satisfies Ready);
await told({ memory });
await server.close();
process.disconnect?.();

/** Everybody comes from one address, which no crowd does: that limit is raised. The mail provider's is what the run asks for. */
function configOf({ dataDir, mailPort, mailsPerSecond }: ServerOptions): Config {
  return loadConfig({
    environment: {},
    flags: {
      dataDir,
      port: 0,
      logLevel: 'error',
      limits: { addressPerSecond: many, addressBurst: many },
      messengers: {
        email: {
          type: 'smtp',
          host: '127.0.0.1',
          port: mailPort,
          secure: false,
          requireTls: false,
          from: 'Benchmark <event@shop.example>',
          ratePerSecond: mailsPerSecond,
          concurrency: 16,
        },
      },
      drainMs: 0,
      verifyEveryMinutes: 0,
    },
  });
}

/** Of the whole process. Tells all threads to collect their garbage, for the next time: see `steady-memory.ts`. */
function memory(): Memory {
  const rss = process.memoryUsage.rss();
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  const threads = new BroadcastChannel(collectChannel);
  threads.postMessage(null);
  threads.close();
  return { rss };
}
