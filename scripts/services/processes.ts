// Starts processes that outlive this one and ends them again, each by its pid and only while the pid still stands for the same process: a
// number that the system has given to somebody else since is left alone.

import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { pause, systemClock } from '@doorbuster/messaging';
import { host } from './ports.ts';
import type { Probe } from './server.ts';

/** How long a server may take to end in order before it is killed, and a killed one to be gone. */
const patienceMs = 30_000;
const lookAgainMs = 100;
/** A server that took the connection and does not answer is asked anew after this. */
const answerMs = 1_000;

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** @returns undefined when this machine does not know the user */
export function accountOf(user: string): Account | undefined {
  const number = (flag: string): number => {
    const { status, stdout } = spawnSync('id', [flag, user], { encoding: 'utf8' });
    return status === 0 ? Number(stdout) : Number.NaN;
  };
  const account = { uid: number('-u'), gid: number('-g') };
  return Number.isInteger(account.uid) && Number.isInteger(account.gid) ? account : undefined;
}

/**
 * What tells a process from a later one with the same pid: when it was started, counted from a boot that has a name. Undefined when there is
 * none, or only what is left of one that has ended.
 */
export function identityOf(pid: number): string | undefined {
  if (process.platform !== 'linux') {
    const { status, stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
    return status === 0 ? stdout.trim() : undefined;
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in brackets may hold blanks and brackets itself; state is the first field after it, the start the twentieth.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : `${boot} ${fields[19]}`;
  } catch {
    return undefined;
  }
}

/** A process of which it is known which one is meant. */
export interface KnownProcess {
  readonly pid: number;
  readonly identity: string;
}

export const isAlive = ({ pid, identity }: KnownProcess): boolean => identityOf(pid) === identity;

interface StartOptions {
  readonly env: Readonly<Record<string, string>>;
  /** What it prints is added to this file. */
  readonly log: string;
  readonly account?: Account | undefined;
}

/** Little of our own environment: what a person has set for other servers would reach these. */
export const environment = (): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '/usr/bin:/bin',
  HOME: process.env['HOME'] ?? '/',
  LANG: 'C.UTF-8',
});

/** Starts it in a session of its own, so that Ctrl-C in this terminal does not reach it. */
export function start(
  program: string,
  args: readonly string[],
  options: StartOptions,
): Promise<KnownProcess> {
  const log = openSync(options.log, 'a');
  const child = spawn(program, [...args], {
    cwd: '/',
    env: options.env,
    detached: true,
    stdio: ['ignore', log, log],
    ...options.account,
  });
  closeSync(log);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('spawn', () => {
      const { pid } = child;
      const identity = pid === undefined ? undefined : identityOf(pid);
      child.unref();
      if (pid === undefined || identity === undefined)
        reject(new Error(`${program} ended at once; see ${options.log}`));
      else resolve({ pid, identity });
    });
  });
}

/** Runs a program that ends by itself, and keeps what it says. */
export function runToEnd(
  program: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly account?: Account | undefined } = {},
): Promise<{ readonly ok: boolean; readonly output: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, [...args], {
      cwd: '/',
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options.account,
    });
    let output = '';
    const keep = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', (error) => resolve({ ok: false, output: String(error) }));
    child.once('close', (code) => resolve({ ok: code === 0, output }));
  });
}

/** Asks once; false for anything but the answer that was looked for. */
export function ask(probe: Probe): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port: probe.port });
    let reply: Buffer = Buffer.alloc(0);
    const finish = (isReady: boolean): void => {
      cancel();
      socket.destroy();
      resolve(isReady);
    };
    const cancel = systemClock.setTimer(answerMs, () => finish(false));
    socket.once('connect', () => socket.write(probe.send));
    socket.on('data', (chunk: Buffer) => {
      reply = Buffer.concat([reply, chunk]);
      if (probe.isReady(reply)) finish(true);
    });
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
  });
}

/** @returns why it is not ready: it ended, or time is up; undefined when it is */
export async function awaitReady(
  known: KnownProcess,
  probe: Probe,
  withinMs: number,
): Promise<string | undefined> {
  const until = systemClock.monotonic() + withinMs;
  while (!(await ask(probe))) {
    if (!isAlive(known)) return 'it ended by itself';
    if (systemClock.monotonic() > until) return `it was not ready after ${withinMs / 1000} s`;
    await pause(systemClock, lookAgainMs);
  }
  return undefined;
}

/** Whether somebody listens there already. */
export function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(true));
    server.listen({ host, port }, () => server.close(() => resolve(false)));
  });
}

export type Ending = 'stopped' | 'killed' | 'was gone';

/** Ends it in order, or by force when it does not obey; nothing happens when it is not the process that was meant. */
export async function stop(
  known: KnownProcess,
  signal: NodeJS.Signals,
  withinMs = patienceMs,
): Promise<Ending> {
  if (!isAlive(known)) return 'was gone';
  process.kill(known.pid, signal);
  if (await hasEnded(known, withinMs)) return 'stopped';
  process.kill(known.pid, 'SIGKILL');
  await hasEnded(known, patienceMs);
  return 'killed';
}

async function hasEnded(known: KnownProcess, withinMs: number): Promise<boolean> {
  const until = systemClock.monotonic() + withinMs;
  while (isAlive(known)) {
    if (systemClock.monotonic() > until) return false;
    await pause(systemClock, lookAgainMs);
  }
  return true;
}
