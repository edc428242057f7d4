/**
 * What tests of `doorbuster-bus` begin with: a run in this process or in one of its own, what it said, and a shop's bus with dead letters to look at. Commands run in this process
 * where nothing speaks against it: a process costs a second.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Type from 'typebox';
import { afterEach, beforeEach } from 'vitest';
import { mailWanted, orderPlaced } from '../../../examples/channels.ts';
import { type Bus, createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { eventually } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createEmbeddedEngine } from '../../engines/embedded/engine.ts';
import { ack, deadLetter, retry } from '../../outcome.ts';
import { run } from '../run.ts';
import { openExisting, type OpenEngine } from '../session.ts';
import { Unawaited } from '../unawaited.ts';

export const main = fileURLToPath(new URL('../main.ts', import.meta.url));
/** For `--channels`: what the shop declares. */
export const module = fileURLToPath(new URL('../../../examples/channels.ts', import.meta.url));

export interface Said {
  /** Null: ended by a signal. */
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export const jsonOf = <T>({ out }: Said): T => JSON.parse(out) as T;

export interface Surroundings {
  readonly stdin?: string;
  readonly signal?: AbortSignal;
  readonly isTTY?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly openEngine?: OpenEngine;
  readonly unawaited?: Unawaited;
}

/** Runs it in this process, with a terminal of nobody's. */
export async function inProcess(args: readonly string[], around: Surroundings = {}): Promise<Said> {
  const { stdin = '', isTTY = false, env = {}, openEngine = openExisting } = around;
  let out = '';
  let err = '';
  const code = await run(args, {
    env,
    stdout: { isTTY, write: (text) => (out += text) },
    stderr: { isTTY, write: (text) => (err += text) },
    stdin: { isTTY: false, read: async () => stdin },
    clock: systemClock,
    signal: around.signal ?? new AbortController().signal,
    unawaited: around.unawaited ?? new Unawaited(systemClock),
    openEngine,
    version: '0.0.0',
  });
  return { code, out, err };
}

/** The same without anything around it. */
export const here = (...args: string[]): Promise<Said> => inProcess(args);

/** Runs it as people do. */
export function start(args: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [main, ...args], { env: { ...process.env, DOORBUSTER_BUS_URL: '' } });
}

export async function ended(child: ChildProcessWithoutNullStreams, stdin = ''): Promise<Said> {
  let out = '';
  let err = '';
  child.stdout.on('data', (part: Buffer) => {
    out += part.toString();
  });
  child.stderr.on('data', (part: Buffer) => {
    err += part.toString();
  });
  child.stdin.end(stdin);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

export const cli = (...args: string[]): Promise<Said> => ended(start(args));

/** A folder of its own for each test of the file that calls this. */
export function useFolder(): { readonly path: (name: string) => string } {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'bus-cli-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  return { path: (name) => join(folder, name) };
}

export interface ShopFile {
  readonly path: (name: string) => string;
  readonly url: () => string;
  /** In a process of its own, on the shop's file. */
  onFile(...args: string[]): Promise<Said>;
  /** In this one. */
  onFileHere(...args: string[]): Promise<Said>;
  /** The application: it owns the file while it runs. */
  application(work: (bus: Bus) => Promise<void>): Promise<void>;
  /** `count` dead letters of the mailer, as many messages that wait for the report. */
  withLetters(count: number): Promise<void>;
}

/** A shop whose bus is a file, a new one for each test of the file that calls this. */
export function useShopFile(): ShopFile {
  const { path } = useFolder();
  const url = (): string => `sqlite:${path('bus.db')}`;
  const application = async (work: (bus: Bus) => Promise<void>): Promise<void> => {
    const bus = createBus({ engine: createEmbeddedEngine({ path: path('bus.db') }), source: '/shop' });
    bus.declare([orderPlaced, mailWanted]);
    await work(bus);
    await bus.stop();
  };
  return {
    path,
    url,
    onFile: (...args) => cli('--url', url(), ...args),
    onFileHere: (...args) => here('--url', url(), ...args),
    application,
    withLetters: (count) =>
      application(async (bus) => {
        bus.subscribe(orderPlaced, { name: 'report', handler: () => new Promise<never>(() => {}) });
        const failing = bus.subscribe(orderPlaced, {
          name: 'mailer',
          retries: { immediate: 0, delayed: [] },
          handler: ({ data }) =>
            data.total === 1 ? deadLetter('no such address') : retry({ reason: 'the mail server is busy' }),
        });
        await bus.start();
        await publishOrders(bus, count);
        await letterCount(bus, count);
        await failing.stop();
        await bus.stop({ drainMs: 0 });
      }),
  };
}

/** One life of a mailer on any engine that gives up on every order. */
export async function giveUpOn(engine: Engine, count: number): Promise<void> {
  const bus = createBus({ engine, source: '/shop' });
  bus.declare([orderPlaced]);
  bus.subscribe(orderPlaced, { name: 'mailer', handler: () => deadLetter('no such address') });
  await bus.start();
  if (count > 0) await publishOrders(bus, count);
  await letterCount(bus, count);
  await bus.stop();
}

export async function publishOrders(bus: Bus, count: number): Promise<void> {
  const orders = Array.from({ length: count }, (_, total) => ({ data: { orderId: `A-${total}`, total } }));
  await bus.publishBatch(orderPlaced, orders);
}

export async function letterCount(bus: Bus, count: number): Promise<void> {
  await eventually(
    () => bus.deadLetters.groups(),
    (groups) => groups.reduce((sum, one) => sum + one.count, 0) === count,
    'the dead letters',
  );
}

/** A channel that keeps what was settled, for `replay`. */
export const kept = defineChannel({
  name: 'order.kept',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  requires: { replay: { keepMs: 3_600_000 } },
});
export const keptPlace = ['--channel', 'order.kept', '--subscription', 'report'];

/** One life of the report on it. */
export async function withReport(
  engine: Engine,
  seen: { readonly add: (n: number) => void },
  use: (bus: Bus) => Promise<unknown>,
): Promise<void> {
  const bus = createBus({ engine, source: '/shop' });
  bus.declare([kept]);
  bus.subscribe(kept, {
    name: 'report',
    handler: ({ data }) => {
      seen.add(data.n);
      return ack();
    },
  });
  await bus.start();
  await use(bus);
  await bus.stop();
}

export const publishKept = (bus: Bus, ...numbers: number[]): Promise<unknown> =>
  bus.publishBatch(
    kept,
    numbers.map((n) => ({ data: { n } })),
  );

/** What a command answers with `--json`: one document, nothing beside it, and the exit code of success. */
export function documentOf<T>(said: Said): T {
  if (said.code !== 0) throw new Error(`it ended with ${said.code}: ${said.out}${said.err}`);
  return jsonOf<T>(said);
}
