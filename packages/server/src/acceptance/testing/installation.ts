/**
 * A shop's installation for the acceptance tests: a mail server and a Doorbuster server as processes of their own on a data directory that outlives them,
 * so that a test can kill, restart and misconfigure them as a machine would. Nothing in it knows the inside of the server.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@doorbuster/messaging';
import { stringify as toYaml } from 'yaml';
import { type ApiClient, createClient } from '../../cli/client.ts';
import type { ReceivedMail } from '../../cli/demo/audit.ts';
import { emailOf, memberIdOf } from '../../cli/demo/crowd-plan.ts';
import {
  type CommandResult,
  commandLine,
  type ProcessOptions,
  runCommand,
  type StartedProcess,
  startProcess,
  until,
} from './process.ts';

export const codePattern = /\bDB(?:-[0-9A-F]{4}){4}\b/;

export interface InstallationOptions {
  /** Parts of the configuration that differ from the rig's. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Faults of the mail server at its start, as its flags. */
  readonly mailFlags?: readonly string[];
  /** Where the data lies; default: beside the mails, and gone with them. */
  readonly dataDir?: string;
  /** Name of a defect of `planted.ts`: the control runs the same test on a server that has it. */
  readonly defect?: string;
  /** Of the server's process at its first start. */
  readonly process?: ProcessOptions;
}

export interface CampaignSeed {
  readonly id: string;
  readonly members: number;
  readonly units: number;
  readonly stock?: Readonly<Record<string, unknown>>;
  readonly intake?: 'direct' | 'queued';
  /** From now, ms. */
  readonly opensInMs?: number;
  readonly emailOf?: (member: number) => string;
  /** More codes than units, for promotions onto fresh units. */
  readonly codes?: number;
  readonly definition?: Readonly<Record<string, unknown>>;
}

export interface SeededCampaign {
  readonly id: string;
  readonly codes: ReadonlySet<string>;
  readonly startsAtMs: number;
}

export class Installation {
  readonly dataDir: string;
  readonly #folder: string;
  readonly #mail: StartedProcess;
  readonly #options: InstallationOptions;
  #server: StartedProcess | null = null;
  #url = '';

  private constructor(folder: string, mail: StartedProcess, options: InstallationOptions) {
    this.#folder = folder;
    this.dataDir = options.dataDir ?? join(folder, 'data');
    this.#mail = mail;
    this.#options = options;
  }

  static async start(options: InstallationOptions = {}): Promise<Installation> {
    const folder = mkdtempSync(join(tmpdir(), 'acceptance-'));
    const mail = startProcess('examples/smtp-sink/main.ts', [
      '--stdin-control',
      '--file',
      join(folder, 'mails.ndjson'),
      ...(options.mailFlags ?? []),
    ]);
    const { port } = await mail.next();
    const installation = new Installation(folder, mail, options);
    writeFileSync(installation.configFile, toYaml(configuration(Number(port), options.config ?? {})));
    try {
      await installation.startServer(options.process);
    } catch (error) {
      await installation.stop();
      throw error;
    }
    return installation;
  }

  get url(): string {
    return this.#url;
  }
  get configFile(): string {
    return join(this.#folder, 'doorbuster.yaml');
  }
  path(name: string): string {
    return join(this.#folder, name);
  }
  get client(): ApiClient {
    return createClient({ url: this.#url, dataDir: this.dataDir, env: {} });
  }
  get tokenSecret(): string {
    const secrets = JSON.parse(readFileSync(join(this.dataDir, 'secrets.json'), 'utf8')) as {
      tokenSecret: string;
    };
    return secrets.tokenSecret;
  }
  /** The server's process as it was started last. */
  get server(): StartedProcess {
    if (this.#server === null) throw new Error('no server was started');
    return this.#server;
  }
  /** Of the server's process. */
  get pid(): number {
    const { pid } = this.#server?.process ?? {};
    if (pid === undefined) throw new Error('the server does not run');
    return pid;
  }
  /** The key that `serve` leaves for this machine. */
  get operatorKey(): string {
    return readFileSync(join(this.dataDir, 'operator-key'), 'utf8').trim();
  }
  get serverLog(): string {
    return this.#server?.stderr() ?? '';
  }

  /** `process`: further flags and variables of this start alone. */
  async startServer(process: ProcessOptions = {}): Promise<void> {
    const { defect } = this.#options;
    this.#server = startProcess(
      commandLine,
      ['serve', '--json', '--port', '0', '--config', this.configFile, '--data', this.dataDir],
      defect
        ? {
            nodeFlags: ['--import', new URL('./planted.ts', import.meta.url).href],
            env: { PLANTED_DEFECT: defect },
          }
        : process,
    );
    const line = await this.#server.next();
    if (typeof line.url !== 'string') throw new Error(`the server did not start: ${JSON.stringify(line)}`);
    this.#url = line.url;
  }

  /** SIGKILL: nothing is drained, nothing is flushed. */
  async kill(): Promise<void> {
    await this.#server?.kill('SIGKILL');
  }

  /** SIGTERM; the exit code. */
  async drain(): Promise<number | string | undefined> {
    this.#server?.process.kill('SIGTERM');
    return this.#server?.ended;
  }

  async stop(): Promise<void> {
    await this.#server?.kill('SIGKILL');
    await this.#mail.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  command(...args: string[]): Promise<CommandResult> {
    return runCommand([...args, '--json', '--config', this.configFile, '--data', this.dataDir]);
  }

  /** Changes how the mail server misbehaves; resolves when it does. */
  async tellMail(faults: Readonly<Record<string, number>>): Promise<void> {
    this.#mail.write(faults);
    await this.#mail.next();
  }

  mails(): readonly ReceivedMail[] {
    let text = '';
    try {
      text = readFileSync(join(this.#folder, 'mails.ndjson'), 'utf8');
    } catch {
      return [];
    }
    // The last line may still be half written.
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => {
        const mail = JSON.parse(line) as { to: string; text: string; at: string };
        return { to: mail.to, text: mail.text, at: Date.parse(mail.at) };
      });
  }

  /** Makes a campaign with members and codes and publishes it. */
  async seed(seed: CampaignSeed): Promise<SeededCampaign> {
    const at = `/v1/campaigns/${seed.id}`;
    const codes = Array.from({ length: seed.codes ?? seed.units }, makeCode);
    const startsAtMs = systemClock.now() + (seed.opensInMs ?? 1_500);
    await this.draft(seed, startsAtMs);
    const email = seed.emailOf ?? emailOf;
    const members = Array.from({ length: seed.members }, (_, m) => `${memberIdOf(m)},${email(m)}`);
    await this.client.call('POST', `${at}/members`, csv(['memberId,email', ...members]));
    await this.client.call('POST', `${at}/voucher-codes`, csv(['code', ...codes]));
    await this.client.call('POST', `${at}/publications`, { body: {} });
    return { id: seed.id, codes: new Set(codes), startsAtMs };
  }

  /** Only the definition. */
  async draft(seed: CampaignSeed, startsAtMs: number): Promise<void> {
    const definition = {
      title: { ko: '수락 시험', en: 'Acceptance' },
      prize: { ko: '쿠폰', en: 'Voucher' },
      startsAt: new Date(startsAtMs).toISOString(),
      stock: { capacity: seed.units, closeWhenSoldOut: false, ...seed.stock },
      intake: seed.intake ?? 'direct',
      eligibility: { audience: 'listed' },
      reward: { messengers: ['email'] },
      ...seed.definition,
    };
    await this.client.call('POST', '/v1/campaigns', { body: { id: seed.id, definition } });
  }

  /** The authority has written OPENED: on a busy machine that is some milliseconds after the status says that it is time. */
  async opened({ id }: { readonly id: string }): Promise<void> {
    await until(
      `${id} is open`,
      async () => (await this.client.call('GET', `/v1/campaigns/${id}`)).json.state === 'open',
    );
  }

  async status(id: string): Promise<Record<string, unknown>> {
    return (await (await fetch(`${this.#url}/v1/campaigns/${id}/status`)).json()) as Record<string, unknown>;
  }

  async lane(id: string): Promise<Readonly<Record<string, number>>> {
    const { json } = await this.client.call('GET', `/v1/campaigns/${id}`);
    return json.lane as Readonly<Record<string, number>>;
  }

  /** Waits until the mail server holds a mail for each issued unit of the campaign, by its codes. */
  async delivered({ id, codes }: SeededCampaign, limitMs = 60_000): Promise<number> {
    const { issued = 0 } = await this.lane(id);
    await until(
      `${issued} mails of ${id}`,
      () =>
        new Set(
          this.mails()
            .map(codeOf)
            .filter((code) => codes.has(code)),
        ).size >= issued,
      limitMs,
    );
    return issued;
  }
}

export const codeOf = (mail: ReceivedMail): string => codePattern.exec(mail.text)?.[0] ?? '';

const makeCode = (): string =>
  `DB-${(randomBytes(8).toString('hex').toUpperCase().match(/.{4}/g) ?? []).join('-')}`;

export const csv = (lines: readonly string[]) => ({
  raw: { contentType: 'text/csv; charset=utf-8', content: Buffer.from(`${lines.join('\r\n')}\r\n`) },
});

/** All members come from one address: the limits are raised, the promises are not touched. */
function configuration(mailPort: number, changes: Readonly<Record<string, unknown>>): object {
  const { limits, delivery, email, ...others } = changes;
  return {
    host: '127.0.0.1',
    logLevel: 'warn',
    allowVolatile: true,
    ...others,
    limits: {
      addressPerSecond: 1_000_000,
      addressBurst: 1_000_000,
      memberPerSecond: 10_000,
      memberBurst: 10_000,
      tokenChecks: 20_000,
      ...(limits as object | undefined),
    },
    delivery: {
      workers: 32,
      firstRetryMs: 100,
      maxRetryMs: 1_000,
      leaseMs: 10_000,
      reconcileEveryMs: 1_000,
      ...(delivery as object | undefined),
    },
    messengers: {
      email: {
        type: 'smtp',
        host: '127.0.0.1',
        port: mailPort,
        secure: false,
        requireTls: false,
        from: 'Shop <event@shop.example>',
        timeoutMs: 1_500,
        ratePerSecond: 10_000,
        concurrency: 16,
        ...(email as object | undefined),
      },
    },
  };
}
