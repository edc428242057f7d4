/** `doorbuster serve`: starts the server, says where it is, and drains it on SIGTERM, SIGINT or SIGHUP. */
import { rmSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { type RunningServer, startServer } from '../main.ts';
import { serverInfoPath } from '../paths.ts';
import { type Context, contextOf } from './context.ts';
import { whole } from './options.ts';

interface ServeOptions {
  readonly port?: number;
  readonly host?: string;
  readonly allowVolatile?: boolean;
  readonly acceptLostQueue?: boolean;
}

export function registerServe(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('serve')
    .description('start the server on its data directory')
    .option('--port <port>', 'port to listen on; 0 lets the system choose', whole)
    .option('--host <address>', 'address to listen on')
    .option('--allow-volatile', 'allow a data directory in memory: a power cut loses everything')
    .option(
      '--accept-lost-queue',
      'start although bus.sqlite is gone: entries told "pending" that have no verdict are lost',
    )
    .action(async (options: ServeOptions, command: Command) => serve(contextOf(command, env), options));
}

async function serve(context: Context, options: ServeOptions): Promise<void> {
  const config = context.config({
    port: options.port,
    host: options.host,
    allowVolatile: options.allowVolatile,
  });
  const server = await startServer(config, context.env, {
    acceptLostQueue: options.acceptLostQueue === true,
  });
  writeFileSync(
    serverInfoPath(config.dataDir),
    `${JSON.stringify({ url: server.url, local: server.localUrl, pid: process.pid })}\n`,
    { mode: 0o600 },
  );
  announce(context, server);
  await untilSignal();
  context.terminal.say('Draining: no new entries; finishing what is under way');
  endOnSecondSignal();
  await server.close();
  rmSync(serverInfoPath(config.dataDir), { force: true });
  process.exit(0);
}

function announce(context: Context, server: RunningServer): void {
  const { terminal } = context;
  const firstRun = server.firstRun;
  if (terminal.json) {
    process.stdout.write(
      `${JSON.stringify({ url: server.url, pid: process.pid, firstRun: firstRun !== null })}\n`,
    );
    return;
  }
  if (firstRun) terminal.say(firstRunText(firstRun, terminal.interactive));
  terminal.data(
    { url: server.url },
    `${terminal.bold('Doorbuster is up.')}
  member pages   ${server.url}/c/<campaign>
  API reference  ${server.url}/docs
  metrics        ${server.url}/metrics
Ctrl-C stops it.`,
  );
}

/** What the first start made. The key itself is for a person's eyes: where stderr is no terminal it would stay in a journal or a log for ever. */
export function firstRunText(made: NonNullable<RunningServer['firstRun']>, interactive: boolean): string {
  const key = interactive
    ? `Operator key, shown once and kept in ${made.operatorKeyFile}:\n  ${made.operatorKey}`
    : `Operator key: kept in ${made.operatorKeyFile}.`;
  return `First run: secrets were made in ${made.secretsFile} (keep a copy of it somewhere safe).\n${key}\n`;
}

/** One Ctrl-C arrives twice where a parent passes it on to its group; only a later one is a second wish. */
const SAME_WISH_MS = 1_000;

/** A second signal means "now": what was acknowledged is durable anyway. */
function endOnSecondSignal(): void {
  const first = performance.now();
  const end = (code: number) => () => {
    if (performance.now() - first > SAME_WISH_MS) process.exit(code);
  };
  process.on('SIGHUP', end(129)).on('SIGINT', end(130)).on('SIGTERM', end(143));
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
}
