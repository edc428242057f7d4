/**
 * What an import of 100,000 rows into one campaign does to the entries of another, over HTTP: a real server, a steady stream of entries from a process of
 * its own, and the ratio of its p99 during an import to its p99 in the calm before and after it. The first import is not counted: it warms
 * up the path and makes the file as large as it will be, for each replaces the rows of the one before.
 *
 *   node --conditions=doorbuster-source bench/import.ts [--kind members|voucher-codes] [--rows 100000] [--rate 400] [--rounds 5] [--calm 5] [--json]
 *
 * The last line with --json: `ratios` {`p99DuringImportOverCalm`: the median of the rounds}, `importMs`, `rounds`, `voidRounds`. Exit code 2: usage.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { BenchProcess } from './child-process.ts';
import { machineCpu, processCpu } from './cpu.ts';
import type { LoadOptions } from './load-ledger.ts';
import type { MailSinkReady } from './mail-sink.ts';
import { median } from './report.ts';
import { mostOthers, temporaryDirectory } from './round.ts';
import type { StreamOptions, Window } from './stream.ts';
import { preparedFiles, type Ready, type ServerOptions } from './system.ts';

const kinds = {
  members: {
    header: 'memberId,email,orders',
    row: (i: number) => `cold-${i},cold-${i}@shop.example,${i % 9}`,
  },
  'voucher-codes': { header: 'code', row: (i: number) => `COLD-${i}` },
} as const;
type Kind = keyof typeof kinds;

interface Asked {
  readonly kind: Kind;
  readonly rows: number;
  readonly rate: number;
  readonly rounds: number;
  readonly calmMs: number;
  readonly json: boolean;
}
interface Round {
  readonly ratio: number;
  readonly calmP99Ms: number;
  readonly importP99Ms: number;
  readonly importMs: number;
  /** What everybody else used of one core; above the limit the round is void and repeated. Null where the machine does not tell. */
  readonly others: number | null;
}

const connections = 64;
const mailsPerSecond = 10_000;
const cold = 'cold';

function read(argv: readonly string[]): Asked | null {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        kind: { type: 'string', default: 'members' },
        rows: { type: 'string', default: '100000' },
        rate: { type: 'string', default: '400' },
        rounds: { type: 'string', default: '5' },
        calm: { type: 'string', default: '5' },
        json: { type: 'boolean', default: false },
      },
    });
    const numbers = [values.rows, values.rate, values.rounds, values.calm].map(Number);
    const [rows = 0, rate = 0, rounds = 0, calm = 0] = numbers;
    if (!numbers.every((number) => number > 0)) throw new Error('rows, rate, rounds, calm: numbers above 0');
    if (!Object.hasOwn(kinds, values.kind))
      throw new Error(`--kind is one of ${Object.keys(kinds).join(', ')}`);
    return { kind: values.kind as Kind, rows, rate, rounds, calmMs: calm * 1000, json: values.json };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return null;
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const asked = read(argv);
  if (asked === null) return 2;
  const directory = temporaryDirectory();
  const processes: BenchProcess[] = [];
  const begun = (file: string, options: object): BenchProcess => {
    const process = new BenchProcess(file, options);
    processes.push(process);
    return process;
  };
  try {
    const dataDir = await prepare(directory, asked);
    const { port: mailPort } = await begun('mail-sink.ts', {}).said<MailSinkReady>();
    const served: ServerOptions = { dataDir, mailPort, mailsPerSecond };
    const { url } = await begun('doorbuster-server.ts', served).said<Ready>();
    const upload = await uploadTo(url, dataDir, asked);
    const sessions = join(dataDir, preparedFiles.sessions);
    const stream = begun('stream.ts', {
      url,
      sessions,
      perSecond: asked.rate,
      connections,
    } satisfies StreamOptions);
    await stream.said();
    report(asked, await measure(asked, stream, upload, () => usedBy(processes)));
    return 0;
  } finally {
    for (const process of processes.reverse()) await process.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** An open campaign with units for the whole stream, and sessions for its members. */
async function prepare(directory: string, { rate, rounds, calmMs }: Asked): Promise<string> {
  const secretsFile = join(directory, preparedFiles.secrets);
  const none = { directory, installations: [], members: 1, units: 1, deliverable: 0, campaigns: 1 };
  await new BenchProcess('prepare.ts', none).said();
  const dataDir = join(directory, 'data');
  // An import takes less than this.
  const newcomers = Math.ceil(rate * (rounds + 1) * (calmMs / 1000 + 40));
  const load: LoadOptions = {
    dataDir,
    secretsFile,
    batch: 128,
    warmUp: 0,
    entries: 1,
    deliverable: 100,
    newcomers,
  };
  await new BenchProcess('load-ledger.ts', load).said();
  return dataDir;
}

/** Makes the campaign that is imported into. Returns the upload, which resolves when the rows are in. */
async function uploadTo(url: string, dataDir: string, { kind, rows }: Asked): Promise<() => Promise<void>> {
  const authorization = `Bearer ${readFileSync(join(dataDir, 'operator-key'), 'utf8').trim()}`;
  const post = async (path: string, type: string, body: string): Promise<void> => {
    const headers = { authorization, 'content-type': type };
    const answer = await fetch(`${url}/v1/campaigns${path}`, { method: 'POST', headers, body });
    if (!answer.ok) throw new Error(`${path} was answered ${answer.status}: ${await answer.text()}`);
    await answer.arrayBuffer();
  };
  const text = { en: 'Bench' };
  const definition = {
    title: text,
    prize: text,
    startsAt: '2099-01-01T00:00:00Z',
    stock: { capacity: 10, closeWhenSoldOut: false },
    reward: { voucherSource: 'pool', messengers: ['email'] },
  };
  await post('', 'application/json', JSON.stringify({ id: cold, definition }));
  const { header, row } = kinds[kind];
  const csv = [header, ...Array.from({ length: rows }, (_, i) => row(i))].join('\n');
  return () => post(`/${cold}/${kind}?mode=replace`, 'text/csv; charset=utf-8', csv);
}

interface Counted {
  readonly rounds: readonly Round[];
  readonly voidRounds: number;
}

async function measure(
  { calmMs, rounds: wanted }: Asked,
  stream: BenchProcess,
  upload: () => Promise<void>,
  used: () => Used | null,
): Promise<Counted> {
  const window = async (): Promise<readonly number[]> => (await stream.ask<Window>('window')).latencies;
  const calm = async (): Promise<readonly number[]> => {
    await window();
    await sleep(calmMs);
    return window();
  };
  await sleep(calmMs / 2);
  await upload();
  const rounds: Round[] = [];
  let voidRounds = 0;
  let before = await calm();
  while (rounds.length < wanted && voidRounds <= wanted) {
    const from = used();
    await window();
    const beganAt = performance.now();
    await upload();
    const importMs = performance.now() - beganAt;
    const during = await window();
    const after = await calm();
    const others = othersShare(from, used());
    const round = roundOf([...before, ...after], during, importMs, others);
    before = after;
    if (others !== null && others > mostOthers) voidRounds += 1;
    else rounds.push(round);
    process.stderr.write(`round ${rounds.length}, void ${voidRounds}: ${JSON.stringify(round)}\n`);
  }
  return { rounds, voidRounds };
}

function roundOf(
  calm: readonly number[],
  during: readonly number[],
  importMs: number,
  others: number | null,
): Round {
  const [calmP99Ms, importP99Ms] = [p99(calm), p99(during)];
  return {
    ratio: hundredth(importP99Ms / calmP99Ms),
    calmP99Ms: hundredth(calmP99Ms),
    importP99Ms: hundredth(importP99Ms),
    importMs: Math.round(importMs),
    others,
  };
}

/** ms until now, of the machine and of the processes of this benchmark. */
interface Used {
  readonly at: number;
  readonly machine: number;
  readonly ours: number;
}

function usedBy(processes: readonly BenchProcess[]): Used | null {
  const machine = machineCpu();
  if (machine === null) return null;
  const pids = [process.pid, ...processes.map(({ pid }) => pid)];
  const ours = pids.reduce((sum, pid) => sum + (processCpu(pid)?.total ?? 0), 0);
  return { at: performance.now(), machine: machine.busy, ours };
}

function othersShare(from: Used | null, to: Used | null): number | null {
  if (!from || !to) return null;
  const others = to.machine - from.machine - (to.ours - from.ours);
  return Math.max(0, hundredth(others / (to.at - from.at)));
}

const p99 = (latencies: readonly number[]): number =>
  latencies.toSorted((a, b) => a - b)[Math.floor(latencies.length * 0.99)] ?? 0;
const hundredth = (value: number): number => Math.round(value * 100) / 100;

function report({ kind, rows, rate, json }: Asked, { rounds, voidRounds }: Counted): void {
  const ratio = median(rounds.map((round) => round.ratio));
  const importMs = median(rounds.map((round) => round.importMs));
  const ratios = { p99DuringImportOverCalm: ratio };
  process.stdout.write(
    json
      ? `${JSON.stringify({ kind, rows, rate, ratios, importMs, rounds, voidRounds })}\n`
      : `p99 during an import of ${rows} ${kind} over the calm around it, median of ${rounds.length} (${voidRounds} void): ${ratio}; an import takes ${importMs} ms\n`,
  );
}

process.exitCode = await main(process.argv.slice(2));
