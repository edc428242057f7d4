/**
 * The crowd: keep-alive connections, one request under way on each, every request of another member. Written on sockets with prepared bytes,
 * because an HTTP client would take the CPU that it is meant to measure; it reads of an answer what a closed loop needs, the status and where
 * it ends. Reports its own CPU: a run in which the generator has no headroom says nothing of the server.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { optionsOf, say } from './child-process.ts';
import { campaignId, entryJson, type Ready } from './system.ts';

export interface GeneratorOptions extends Ready {
  readonly connections: number;
  readonly warmUpMs: number;
  readonly runMs: number;
}
export interface Measured {
  readonly requests: number;
  readonly elapsedMs: number;
  readonly requestsPerSecond: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly statuses: Readonly<Record<string, number>>;
  /** Of one core. */
  readonly cpuShare: number;
  /** The sessions did not last for the whole time; the figures are of the time they lasted. */
  readonly ranDry: boolean;
}

const headEnd = Buffer.from('\r\n\r\n');
const lengthHeader = Buffer.from('content-length: ');
const mostRequests = 1 << 21;

const options = optionsOf<GeneratorOptions>();
const { hostname, port, host } = new URL(options.url);
const sessions = readFileSync(options.sessions, 'latin1').split('\n');
const before = `POST /v1/campaigns/${campaignId}/entries HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(entryJson)}\r\nauthorization: Bearer `;
const after = `\r\n\r\n${entryJson}`;

const latencies = new Float32Array(mostRequests);
const statuses = new Map<number, number>();
let next = 0;
let counted = 0;
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
    this.#count(Number(data.toString('latin1', 9, 12)));
    this.#send();
  }

  #count(status: number): void {
    if (!counting || counted >= mostRequests) return;
    latencies[counted] = performance.now() - this.#sentAt;
    counted += 1;
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
}

function lengthIn(data: Buffer, head: number): number {
  const at = data.indexOf(lengthHeader);
  if (at < 0 || at > head) throw new Error('an answer without a length');
  return Number.parseInt(data.toString('latin1', at + lengthHeader.length, at + lengthHeader.length + 9), 10);
}

const connections = Array.from({ length: options.connections }, () => new Connection());
const passed = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
await passed(options.warmUpMs);
counting = true;
const startedAt = performance.now();
const cpu = process.cpuUsage();
await Promise.race([passed(options.runMs), Promise.all(connections.map(({ closed }) => closed))]);
counting = false;
over = true;
const used = process.cpuUsage(cpu);
const endedAt = dryAt ?? performance.now();
await say(measured(endedAt - startedAt, (used.user + used.system) / 1000));
process.exit(0);

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
    cpuShare: Math.round((cpuMs / elapsedMs) * 100) / 100,
    ranDry: dryAt !== null,
  };
}
