/**
 * A private installation for the demo and for rehearsals: a mail server, a Doorbuster server on a data directory of its own, and the campaign with its
 * members and codes. All of it is what a shop would run, each in a process of its own; only the members are made up.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify as toYaml } from 'yaml';
import { type ApiClient, createClient } from '../client.ts';
import { makeOrRefuse } from '../directory.ts';
import { type Child, startChild } from './child.ts';
import { emailOf, memberIdOf } from './crowd-plan.ts';
import type { ReceivedMail } from './audit.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const suffix = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/** The example mail server; the build compiles it beside the demo. */
const mailServer = here(suffix === 'ts' ? '../../../../../examples/smtp-sink/main.ts' : './smtp-sink.js');

export const CODE_PATTERN = /\bDB(?:-[0-9A-F]{4}){4}\b/;

export interface RigOptions {
  readonly dataDir: string;
  readonly port: number;
  readonly env: NodeJS.ProcessEnv;
  readonly allowedOrigins?: readonly string[];
}
export interface Rig {
  readonly url: string;
  readonly client: ApiClient;
  readonly dataDir: string;
  readonly tokenSecret: string;
  mails(): readonly ReceivedMail[];
  stop(): Promise<void>;
}

export async function startRig(options: RigOptions): Promise<Rig> {
  const { dataDir, env } = options;
  makeOrRefuse(dataDir, '--data');
  const mailFile = join(dataDir, 'received-mails.ndjson');
  const mail = startChild('mail server', mailServer, ['--file', mailFile], env);
  const children: Child[] = [mail];
  const stop = async (): Promise<void> => {
    for (const child of children.reverse()) await child.stop();
  };
  try {
    const { port: mailPort } = (await mail.ready) as { port: number };
    const configFile = join(dataDir, 'doorbuster.yaml');
    writeFileSync(configFile, toYaml(configuration(options, mailPort)), { mode: 0o600 });
    const server = startChild(
      'server',
      here(`../main.${suffix}`),
      ['serve', '--json', '--config', configFile, '--data', dataDir],
      env,
    );
    children.push(server);
    const { url } = (await server.ready) as { url: string };
    const client = createClient({ url, dataDir, env: {} });
    const { tokenSecret } = JSON.parse(readFileSync(join(dataDir, 'secrets.json'), 'utf8')) as {
      tokenSecret: string;
    };
    return { url, client, dataDir, tokenSecret, mails: () => readMails(mailFile), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** All members come from one address and want their mail at once, which no shop's crowd does: the limits are raised, the promises are not touched. */
function configuration(options: RigOptions, mailPort: number): object {
  return {
    host: '127.0.0.1',
    port: options.port,
    logLevel: 'warn',
    // It lives in the machine's temporary folder, which many systems keep in memory.
    allowVolatile: true,
    allowedOrigins: options.allowedOrigins ?? [],
    limits: { addressPerSecond: 1_000_000, addressBurst: 1_000_000, tokenChecks: 20_000 },
    delivery: { workers: 32, firstRetryMs: 200 },
    messengers: {
      email: {
        type: 'smtp',
        host: '127.0.0.1',
        port: mailPort,
        secure: false,
        requireTls: false,
        from: 'Doorbuster demo <event@shop.example>',
        ratePerSecond: 10_000,
        concurrency: 16,
      },
    },
  };
}

function mailOf(line: unknown): ReceivedMail {
  const { to, text, at } = line as { to: string | readonly string[]; text: string; at: string };
  return { to: typeof to === 'string' ? to : (to[0] ?? ''), text, at: Date.parse(at) };
}

function readMails(file: string): readonly ReceivedMail[] {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    // The last line may still be half written.
    return lines.slice(0, -1).map((line) => mailOf(JSON.parse(line) as unknown));
  } catch {
    return [];
  }
}

export interface Seed {
  readonly id: string;
  readonly definition: Record<string, unknown>;
  readonly entrants: number;
  readonly units: number;
  readonly startsAtMs: number;
}

/** Makes the campaign with its members and codes, and publishes it. Returns the codes. */
export async function seedCampaign(client: ApiClient, seed: Seed): Promise<ReadonlySet<string>> {
  const at = `/v1/campaigns/${seed.id}`;
  const codes = Array.from({ length: seed.units }, makeCode);
  await client.call('POST', '/v1/campaigns', {
    body: {
      id: seed.id,
      definition: { ...seed.definition, startsAt: new Date(seed.startsAtMs).toISOString() },
    },
  });
  const csv = (lines: readonly string[]) => ({
    raw: { contentType: 'text/csv; charset=utf-8', content: Buffer.from(`${lines.join('\r\n')}\r\n`) },
  });
  const members = Array.from(
    { length: seed.entrants },
    (_, m) => `${memberIdOf(m)},${emailOf(m)},${m % 2 ? 'ko' : 'en'},${1 + (m % 7)}`,
  );
  await client.call('POST', `${at}/members`, csv(['memberId,email,locale,orders', ...members]));
  await client.call('POST', `${at}/voucher-codes`, csv(['code', ...codes]));
  await client.call('POST', `${at}/publications`, { body: {} });
  return new Set(codes);
}

const makeCode = (): string =>
  `DB-${(randomBytes(8).toString('hex').toUpperCase().match(/.{4}/g) ?? []).join('-')}`;
