/**
 * A steady stream of entries, each of a fresh member, at a pace that the server bears easily: latency says something only below saturation. It does not wait
 * for answers before it sends the next, and counts from the moment an entry was due, so that a server that stops shows.
 * A process of its own: what it measures must not share a thread with an upload. Answers `window`: what came back since the last one.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { optionsOf, say, told } from './child-process.ts';
import { campaignOf, entryJson, type Ready } from './system.ts';

export interface StreamOptions extends Ready {
  /** File with one session a line. */
  readonly sessions: string;
  readonly perSecond: number;
  readonly connections: number;
}
export interface Window {
  /** ms */
  readonly latencies: readonly number[];
}

const options = optionsOf<StreamOptions>();
const { hostname, port, host } = new URL(options.url);
const sessions = readFileSync(options.sessions, 'latin1').split('\n');
const before = `POST /v1/campaigns/${campaignOf(0)}/entries HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(entryJson)}\r\nauthorization: Bearer `;

const idle: Line[] = [];
const due: number[] = [];
let latencies: number[] = [];
let next = 0;

class Line {
  readonly #socket: Socket;
  #dueAt = 0;
  #heard = '';

  constructor() {
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('connect', () => this.#rest());
    this.#socket.on('data', (piece) => this.#read(String(piece)));
  }

  #rest(): void {
    const dueAt = due.shift();
    if (dueAt === undefined) idle.push(this);
    else this.send(dueAt);
  }

  send(dueAt: number): void {
    const session = sessions[next++];
    if (session === undefined) throw new Error('there are no members left');
    this.#dueAt = dueAt;
    this.#socket.write(`${before}${session}\r\n\r\n${entryJson}`, 'latin1');
  }

  #read(piece: string): void {
    this.#heard += piece;
    const head = this.#heard.indexOf('\r\n\r\n');
    const length = Number(/content-length: (\d+)/.exec(this.#heard)?.[1] ?? Number.NaN);
    if (head < 0 || !(this.#heard.length >= head + 4 + length)) return;
    if (!this.#heard.startsWith('HTTP/1.1 201')) throw new Error(this.#heard.slice(0, 400));
    this.#heard = '';
    latencies.push(performance.now() - this.#dueAt);
    this.#rest();
  }
}

for (let i = 0; i < options.connections; i += 1) new Line();
const beganAt = performance.now();
let sent = 0;
const pace = setInterval(() => {
  const now = performance.now();
  for (let at = dueAt(sent); at <= now; at = dueAt(sent)) {
    sent += 1;
    const line = idle.shift();
    if (line) line.send(at);
    else due.push(at);
  }
}, 1);
await say({});
await told({
  window: (): Window => {
    const window = latencies;
    latencies = [];
    return { latencies: window };
  },
});
clearInterval(pace);
process.exit(0);

function dueAt(n: number): number {
  return beganAt + (n * 1000) / options.perSecond;
}
