/**
 * The members of an acceptance test: they send entries over HTTP, keep every answer, and know what the API allows. A request whose connection broke has no
 * answer and claims nothing; whoever insists sends it again. Faults are told, not thrown, so that a test sees all of them.
 */
import { connect } from 'node:net';
import { Pool } from 'undici';
import { pause, systemClock } from '@doorbuster/messaging';
import { memberIdOf } from '../../cli/demo/crowd-plan.ts';
import type { KeptAnswer } from '../../cli/demo/crowd.ts';
import { memberTokenSigner } from '../../cli/demo/member-token.ts';
import type { Installation } from './installation.ts';

export interface CrowdOptions {
  readonly connections?: number;
  /** A request without an answer after this long is a fault, ms. */
  readonly patienceMs?: number;
  /** What everybody sends as the entry's body. Default: no answers. */
  readonly body?: string;
}

/** Where it goes: the address may change while it works, as that of a server started again does. */
export type Entrance = Pick<Installation, 'url' | 'tokenSecret'>;

export class Crowd {
  readonly answers: KeptAnswer[] = [];
  readonly faults: string[] = [];
  readonly statuses: Record<string, number> = {};
  /** Connections that broke: the request may or may not have been decided. */
  unanswered = 0;
  readonly #installation: Entrance;
  readonly #campaignId: string;
  readonly #options: CrowdOptions;
  readonly #sign: ReturnType<typeof memberTokenSigner>;
  readonly #tokens = new Map<number, string>();
  #pool: Pool | null = null;
  #poolUrl = '';

  constructor(installation: Entrance, campaignId: string, options: CrowdOptions = {}) {
    this.#installation = installation;
    this.#campaignId = campaignId;
    this.#options = options;
    this.#sign = memberTokenSigner(installation.tokenSecret, 'doorbuster');
  }

  token(member: number): string {
    let token = this.#tokens.get(member);
    if (token === undefined) {
      token = this.#sign({ sub: memberIdOf(member) }, systemClock.now(), 60);
      this.#tokens.set(member, token);
    }
    return token;
  }

  /** Changes the member's token for a session, as the shop's page does; the session is what they show from then on. */
  async signIn(member: number): Promise<void> {
    const response = await this.#connection().request({
      method: 'POST',
      path: `/v1/campaigns/${this.#campaignId}/sessions`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token: this.token(member) }),
    });
    const { session } = (await response.body.json()) as { session?: string };
    if (session === undefined) this.#fault(`${memberIdOf(member)} got no session: ${response.statusCode}`);
    else this.#tokens.set(member, session);
  }

  /** One entry request. Null: the connection broke. */
  enter(member: number, headers: Readonly<Record<string, string>> = {}): Promise<KeptAnswer | null> {
    return this.#ask(member, 'POST', 'entries', headers);
  }

  /** Sends an entry whole and hangs up without waiting for the answer. The server has it, or will read it; nobody is told what became of it. */
  async hangUp(member: number): Promise<void> {
    const { hostname, port, host } = new URL(this.#installation.url);
    const socket = connect(Number(port), hostname);
    const closed = Promise.withResolvers<void>();
    socket.once('error', closed.reject);
    socket.once('close', () => closed.resolve());
    const head = [
      `POST /v1/campaigns/${this.#campaignId}/entries HTTP/1.1`,
      `host: ${host}`,
      `authorization: Bearer ${this.token(member)}`,
      'content-length: 0',
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n`, () => socket.destroy());
    await closed.promise;
  }

  /** The own result. */
  mine(member: number): Promise<KeptAnswer | null> {
    return this.#ask(member, 'GET', 'entries/mine', {});
  }

  /** Sends the entry until the server has decided (or taken it into the queue), across refusals for now, an opening that is due and restarts. */
  async insist(member: number): Promise<KeptAnswer> {
    for (;;) {
      const answer = await this.enter(member);
      // The authority opens late rather than early: on a busy machine some milliseconds after the status said that it is time.
      const isForNow = answer?.status === 503 || answer?.status === 429 || answer?.verdict === 'not-open';
      if (answer && !isForNow) return answer;
      await pause(systemClock, 20);
    }
  }

  /** Asks until the verdict of a queued entry is there. */
  async learn(member: number, limitMs = 30_000): Promise<KeptAnswer | null> {
    const end = systemClock.monotonic() + limitMs;
    for (;;) {
      const answer = await this.mine(member);
      const undecided =
        answer === null || answer.verdict === 'pending' || answer.status === 503 || answer.status === 429;
      if (!undecided) return answer;
      if (systemClock.monotonic() > end) {
        this.#fault(`${memberIdOf(member)} was told pending and never learnt a verdict`);
        return null;
      }
      await pause(systemClock, 50);
    }
  }

  /** Runs `work` for all members with so many at once. */
  async each(
    members: readonly number[],
    atOnce: number,
    work: (member: number) => Promise<unknown>,
  ): Promise<void> {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < members.length) await work(members[next++] as number);
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, members.length) }, worker));
  }

  async close(): Promise<void> {
    await this.#pool?.destroy();
  }

  #connection(): Pool {
    const { url } = this.#installation;
    if (this.#pool === null || this.#poolUrl !== url) {
      void this.#pool?.destroy();
      this.#poolUrl = url;
      this.#pool = new Pool(url, {
        connections: this.#options.connections ?? 64,
        headersTimeout: this.#options.patienceMs ?? 20_000,
        bodyTimeout: this.#options.patienceMs ?? 20_000,
      });
    }
    return this.#pool;
  }

  async #ask(
    member: number,
    method: 'GET' | 'POST',
    path: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<KeptAnswer | null> {
    const sentAt = systemClock.now();
    try {
      const response = await this.#connection().request({
        method,
        path: `/v1/campaigns/${this.#campaignId}/${path}`,
        headers: {
          authorization: `Bearer ${this.token(member)}`,
          ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
          ...headers,
        },
        ...(method === 'POST' ? { body: this.#options.body ?? '{}' } : {}),
      });
      const text = await response.body.text();
      return this.#keep(member, sentAt, response.statusCode, response.headers, text);
    } catch (error) {
      const { code = '' } = error as { code?: string };
      if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT')
        this.#fault(
          `${memberIdOf(member)} waited ${this.#options.patienceMs ?? 20_000} ms without an answer`,
        );
      this.unanswered += 1;
      return null;
    }
  }

  #keep(
    member: number,
    sentAt: number,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
    text: string,
  ): KeptAnswer {
    const body = JSON.parse(text) as Record<string, unknown>;
    const verdict = typeof body.verdict === 'string' ? body.verdict : null;
    this.statuses[status] = (this.statuses[status] ?? 0) + 1;
    if (status >= 500 && status !== 503)
      this.#fault(`${memberIdOf(member)}: ${status} ${text.slice(0, 200)}`);
    if ((status === 503 || status === 429) && !(Number(headers['retry-after']) >= 1))
      this.#fault(`${memberIdOf(member)}: ${status} without Retry-After`);
    const answer: KeptAnswer = {
      member,
      kind: 'entry',
      sentAt,
      answeredAt: systemClock.now(),
      status,
      verdict,
      body,
    };
    this.answers.push(answer);
    return answer;
  }

  #fault(text: string): void {
    if (this.faults.length < 20) this.faults.push(text);
  }
}

/** 0..n-1 */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** The members in an order drawn from the seed. */
export function shuffled(n: number, random: () => number): number[] {
  const members = range(n);
  for (let i = n - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1));
    [members[i], members[j]] = [members[j] as number, members[i] as number];
  }
  return members;
}
