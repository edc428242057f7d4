/**
 * The crowd: keep-alive connections, one request under way on each, every request of another member. Written on sockets with prepared bytes,
 * because an HTTP client would take the CPU that it is meant to measure; it reads of an answer what a closed loop needs, the status and where
 * it ends. Reports its own CPU: a run in which the generator has no headroom says nothing of the server.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { optionsOf, say } from './child-process.ts';
import { campaignOf, entryJson, type Ready } from './system.ts';

export interface GeneratorOptions extends Ready {
  /** File with one session a line, each of another member. */
  readonly sessions: string;
  /** The first line to use. */
  readonly from: number;
  /** Campaign of the first session; line n belongs to the n-th of `campaigns` after it, in turn. */
  readonly campaign: number;
  readonly campaigns: number;
  readonly connections: number;
  readonly warmUpMs: number;
  readonly runMs: number;
}
/** Said when the warm-up is over, and when the run is; then it says what it measured. */
export type Marked = 'started' | 'ended';
export interface Measured {
  readonly requests: number;
  readonly elapsedMs: number;
  readonly requestsPerSecond: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly statuses: Readonly<Record<string, number>>;
  /** Since the first request, the warm-up included: requests answered, and those answered 201. */
  readonly answered: number;
  readonly accepted: number;
  /** ms since the epoch. */
  readonly firstRequestAt: number;
  /** Mean length of a body. */
  readonly answerBytes: number;
  readonly cpuMs: number;
  /** The sessions did not last for the whole time; the figures are of the time they lasted. */
  readonly ranDry: boolean;
}

const headEnd = Buffer.from('\r\n\r\n');
const lengthHeader = Buffer.from('content-length: ');
const mostRequests = 1 << 22;
const fewestRequests = 100;

const options = optionsOf<GeneratorOptions>();
const { hostname, port, host } = new URL(options.url);
const sessions = readFileSync(options.sessions, 'latin1').split('\n');
const befores = Array.from({ length: options.campaigns }, (_, n) => {
  const id = campaignOf(options.campaign + n);
  return `POST /v1/campaigns/${id}/entries HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(entryJson)}\r\nauthorization: Bearer `;
});
const after = `\r\n\r\n${entryJson}`;

const latencies = new Float32Array(mostRequests);
const statuses = new Map<number, number>();
let next = options.from;
let counted = 0;
let bytes = 0;
let accepted = 0;
let answered = 0;
let counting = false;
let over = false;
let dryAt: number | null = null;

class Connection {
  readonly #socket: Socket;
  #sentAt = 0;
  #rest: Buffer<ArrayBufferLike> | null = null;
  #onClosed: () => void = () => {};
  readonly closed = new Promise<void>((resolve) => {
    this.#onClosed = resolve;
  });

  constructor() {
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.#socket.on('connect', () => this.#send());
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#socket.on('close', () => this.#onClosed());
    this.#socket.on('error', (error) => {
      if (!over) throw error;
    });
  }

  #send(): void {
    const session = sessions[next];
    if (over || session === undefined) {
      if (session === undefined) dryAt ??= performance.now();
      this.#socket.end();
      return;
    }
    const before = befores[next % befores.length];
    next += 1;
    this.#sentAt = performance.now();
    this.#socket.write(`${before}${session}${after}`, 'latin1');
  }

  #read(chunk: Buffer): void {
    const data = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    const head = data.indexOf(headEnd);
    const length = head < 0 ? -1 : lengthIn(data, head);
    if (head < 0 || data.length < head + 4 + length) {
      this.#rest = data;
      return;
    }
    this.#rest = null;
    this.#count(Number(data.toString('latin1', 9, 12)), length);
    this.#send();
  }

  #count(status: number, length: number): void {
    answered += 1;
    if (status === 201) accepted += 1;
    if (!counting || counted >= mostRequests) return;
    latencies[counted] = performance.now() - this.#sentAt;
    counted += 1;
    bytes += length;
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
}

function lengthIn(data: Buffer, head: number): number {
  const at = data.indexOf(lengthHeader);
  if (at < 0 || at > head) throw new Error('an answer without a length');
  return Number.parseInt(data.toString('latin1', at + lengthHeader.length, at + lengthHeader.length + 9), 10);
}

const firstRequestAt = Date.now();
const connections = Array.from({ length: options.connections }, () => new Connection());
const passed = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
if (options.warmUpMs > 0) await passed(options.warmUpMs);
counting = true;
const startedAt = performance.now();
const cpu = process.cpuUsage();
await say({ marked: 'started' satisfies Marked });
const allClosed = Promise.all(connections.map(({ closed }) => closed));
await Promise.race([enough(), allClosed]);
counting = false;
over = true;
const used = process.cpuUsage(cpu);
const endedAt = dryAt ?? performance.now();
await say({ marked: 'ended' satisfies Marked });
await say(measured(endedAt - startedAt, (used.user + used.system) / 1000));
process.exit(0);

/** The time is over, and something was counted: on a busy machine a short run may see nothing else. */
async function enough(): Promise<void> {
  await passed(options.runMs);
  while (counted < fewestRequests) await passed(50);
}

function measured(elapsedMs: number, cpuMs: number): Measured {
  const sorted = latencies.subarray(0, counted).sort();
  const at = (share: number): number =>
    Math.round((sorted[Math.min(counted - 1, Math.floor(counted * share))] ?? 0) * 100) / 100;
  return {
    requests: counted,
    elapsedMs: Math.round(elapsedMs),
    requestsPerSecond: Math.round((counted / elapsedMs) * 1000),
    latencyMs: { p50: at(0.5), p99: at(0.99), max: at(1) },
    statuses: Object.fromEntries([...statuses].map(([status, count]) => [String(status), count])),
    answered,
    accepted,
    firstRequestAt,
    answerBytes: counted === 0 ? 0 : Math.round(bytes / counted),
    cpuMs: Math.round(cpuMs),
    ranDry: dryAt !== null,
  };
}
