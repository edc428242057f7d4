/** `doorbuster doctor`: why it does not work. Looks at the machine, the data directory, the configuration, the providers and the running server. */
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { checkProviders } from '../main.ts';
import { secretsPath } from '../paths.ts';
import { type Context, contextOf } from './context.ts';
import { exitCodes, failureOf } from './failure.ts';

interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly detail: string;
}

const LEAST_FREE_BYTES = 1024 ** 3;

export function registerDoctor(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('doctor')
    .description(
      'look for what stands in the way: machine, data directory, configuration, messengers, voucher sources, server',
    )
    .option('--test-email <address>', 'send a test message there through each e-mail messenger')
    .action(async (options: { testEmail?: string }, command: Command) =>
      doctor(contextOf(command, env), options),
    );
}

async function doctor(context: Context, options: { testEmail?: string }): Promise<void> {
  const findings: Finding[] = [checkNode()];
  const config = await attempt(
    findings,
    'configuration',
    async () => context.config(),
    () => 'no faults',
  );
  if (config) {
    findings.push(...checkDataDir(config), checkSecrets(config));
    for (const { name, faults } of await checkProviders(config, context.env, options.testEmail))
      findings.push({
        check: name,
        ok: faults.length === 0,
        detail:
          faults.join('; ') ||
          (options.testEmail && name.startsWith('messenger ')
            ? 'answers; a test message was sent where it can be'
            : 'answers'),
      });
    await attempt(
      findings,
      'server',
      async () => context.client().call('GET', '/readyz'),
      () => 'ready',
    );
    findings.push(await checkClock(context));
  }
  const failed = findings.filter((f) => !f.ok);
  context.terminal.data(
    { ok: failed.length === 0, findings },
    findings.map((f) => `${f.ok ? 'ok  ' : 'FAIL'}  ${f.check.padEnd(20)} ${f.detail}`).join('\n'),
  );
  if (failed.length > 0) process.exitCode = exitCodes.failed;
}

async function attempt<T>(
  findings: Finding[],
  check: string,
  work: () => Promise<T>,
  said: (value: T) => string,
): Promise<T | null> {
  try {
    const value = await work();
    findings.push({ check, ok: true, detail: said(value) });
    return value;
  } catch (error) {
    const failure = failureOf(error);
    if (!failure) throw error;
    findings.push({ check, ok: false, detail: `${failure.error} ${failure.remedy}` });
    return null;
  }
}

function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  return {
    check: 'node',
    ok: major >= 24,
    detail: `${process.version}${major >= 24 ? '' : ': 24 or 26 is needed'}`,
  };
}

function checkDataDir(config: Config): readonly Finding[] {
  const dir = resolve(config.dataDir);
  const nearest = existsSync(dir) ? dir : dirname(dir);
  try {
    accessSync(nearest, constants.R_OK | constants.W_OK | constants.X_OK);
    const { bavail, bsize } = statfsSync(nearest);
    const free = bavail * bsize;
    return [
      { check: 'data directory', ok: true, detail: existsSync(dir) ? dir : `${dir} (will be made)` },
      {
        check: 'free disk',
        ok: free >= LEAST_FREE_BYTES,
        detail: `${Math.floor(free / 1024 ** 2)} MiB${free >= LEAST_FREE_BYTES ? '' : ': less than 1 GiB'}`,
      },
    ];
  } catch (error) {
    return [
      {
        check: 'data directory',
        ok: false,
        detail: `${nearest} cannot be written (${(error as NodeJS.ErrnoException).code ?? 'error'})`,
      },
    ];
  }
}

function checkSecrets(config: Config): Finding {
  const path = secretsPath(config);
  if (!existsSync(path)) return { check: 'secrets', ok: true, detail: `${path} (made at the first start)` };
  const open = (statSync(path).mode & 0o077) !== 0;
  return { check: 'secrets', ok: !open, detail: open ? `${path} can be read by others: chmod 600` : path };
}

/** The server's clock against this one's; members are told the server's. */
async function checkClock(context: Context): Promise<Finding> {
  try {
    const response = await fetch(`${context.client().url}/livez`);
    const off = Math.abs(Date.parse(response.headers.get('date') ?? '') - Date.now());
    return { check: 'clock', ok: off < 3_000, detail: `${off} ms off the server's` };
  } catch {
    return { check: 'clock', ok: true, detail: 'not compared: the server does not run' };
  }
}
