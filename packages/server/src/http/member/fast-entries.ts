/**
 * The short way of the one hot route: `POST /v1/campaigns/{id}/entries` straight from node:http, in front of the router. It serves the plain request that
 * nearly everybody sends, in the same order of questions as the full way (`entries.ts`), through the same session check, survey, admission and
 * texts, and passes on whatever is unusual: another credential, an unknown campaign, queued intake, a body that is not plainly right, a process that
 * stops. A differential test sends the same requests both ways.
 *
 *   plain? -> address -> session -> campaign -> refusal from memory, or body -> answers -> admission -> answer
 *
 * What it saves is the router's, the framework's and the promises' share of a request; and answers from memory leave together at the end of the turn,
 * because a write to a socket costs less than half when its reader is awake from the one before.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { MemberKey } from '@doorbuster/core';
import { chooseLocale } from '@doorbuster/web';
import type { FastifyInstance } from 'fastify';
import type { SubmissionAnswer } from '../../admission/admission.ts';
import type { Waiter } from '../../admission/micro-batch.ts';
import type { CampaignDefinition } from '../../campaign/definition.ts';
import type { LimitState } from '../../admission/turnstile.ts';
import type { AdmissionAnswer } from '../../ledger.ts';
import type { KnownCampaign } from '../../live/campaign-book.ts';
import { rateHeaders } from '../address-limit.ts';
import type { HttpDeps } from '../deps.ts';
import { passOn } from '../passed-on.ts';
import { problemOf } from '../problem.ts';
import { commonHeaders, originHeaders } from '../security-headers.ts';
import { answersOf } from './enter.ts';
import { type PlainEntry, plainAnswersOf, plainEntryOf } from './plain-entry.ts';
import { type Addressee, type VerdictAnswer, verdictAnswer } from './verdict-answer.ts';

export type RequestListener = (request: IncomingMessage, response: ServerResponse) => void;

export interface FastEntriesOptions {
  readonly deps: HttpDeps;
  readonly requestId: () => string;
  /** The router: the full way. */
  readonly onward: RequestListener;
  readonly state: FastifyInstance['doorbuster'];
}

/** The pattern of the route, as the metrics name it. */
const route = '/v1/campaigns/:campaignId/entries';

export class FastEntries {
  readonly deps: HttpDeps;
  readonly onward: RequestListener;
  readonly #options: FastEntriesOptions;
  readonly #always: readonly string[];
  readonly #rate: ReturnType<typeof rateHeaders>;
  #leaving: { readonly entry: FastEntry; readonly answer: VerdictAnswer }[] = [];

  constructor(options: FastEntriesOptions) {
    this.#options = options;
    this.deps = options.deps;
    this.onward = options.onward;
    this.#always = Object.entries(commonHeaders(options.deps.config)).flat();
    this.#rate = rateHeaders(options.deps.config);
  }

  /** Answers the request, now or later, or hands it to the full way. */
  readonly listener: RequestListener = (request, response) => {
    const plain = this.#options.state.draining ? null : plainEntryOf(request);
    if (plain === null || !this.#take(plain, request, response)) this.onward(request, response);
  };

  /** False: the full way is to answer; what was done for the request is passed on with it. */
  #take(plain: PlainEntry, request: IncomingMessage, response: ServerResponse): boolean {
    const { deps } = this;
    const { turnstile, config, sessions, campaigns, admission, clock } = deps;
    const { remoteAddress } = request.socket;
    if (remoteAddress === undefined || (config.trustProxy !== false && plain.forwardedFor !== null))
      return false;
    const startedAt = clock.monotonic();
    const address = turnstile.address(remoteAddress);
    // A refusal takes nothing from the caller's rate, so the full way may ask again.
    if (!address.allowed) return false;
    const session = sessions.read(plain.campaignId, plain.bearer);
    const campaign = campaigns.peek(plain.campaignId);
    if (!session || !campaign?.lane || campaign.intake === 'queued') {
      passOn(request, address, null);
      return false;
    }
    const { memberKey } = session;
    const id = this.#options.requestId();
    const entry = new FastEntry(this, {
      plain,
      request,
      response,
      address,
      campaign,
      memberKey,
      id,
      startedAt,
    });
    let refusal: AdmissionAnswer | null;
    try {
      refusal = admission.refusal(campaign, memberKey);
    } catch (error) {
      entry.failed(error);
      return true;
    }
    if (refusal) this.#answerTogether(entry, entry.answerOf({ kind: 'decided', answer: refusal }));
    else entry.readBody();
    return true;
  }

  #answerTogether(entry: FastEntry, answer: VerdictAnswer): void {
    if (this.#leaving.push({ entry, answer }) > 1) return;
    setImmediate(() => {
      const leaving = this.#leaving;
      this.#leaving = [];
      for (const { entry: each, answer: text } of leaving) each.write(text.status, text.headers, text.body);
    });
  }

  /** Head and body in one write. The socket may be gone: then there is nobody to tell. */
  write(asked: Asked, status: number, own: VerdictAnswer['headers'], body: string): void {
    const { response, plain, address, id, startedAt } = asked;
    const { config, metrics, clock } = this.deps;
    const headers = [...this.#always, 'x-request-id', id];
    headers.push('ratelimit-policy', this.#rate.policy, 'ratelimit', this.#rate.of(address));
    if (config.allowedOrigins.length > 0) headers.push(...originHeaders(config, plain.origin));
    for (const [name, value] of own) headers.push(name, value);
    headers.push('content-length', String(Buffer.byteLength(body)));
    if (this.#options.state.draining) headers.push('connection', 'close');
    if (!response.destroyed && !response.headersSent) {
      response.writeHead(status, headers);
      response.end(body);
    }
    metrics.request(route, 'POST', status, clock.monotonic() - startedAt);
  }
}

interface Asked {
  readonly plain: PlainEntry;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly address: LimitState;
  readonly campaign: KnownCampaign;
  readonly memberKey: MemberKey;
  readonly id: string;
  readonly startedAt: number;
}

/** One request on the short way: its body, and what waits for its answer. */
class FastEntry implements Waiter, Addressee {
  readonly #way: FastEntries;
  readonly #asked: Asked;
  #first: Buffer | null = null;
  #rest: Buffer[] | null = null;
  #bytes = 0;

  constructor(way: FastEntries, asked: Asked) {
    this.#way = way;
    this.#asked = asked;
  }

  /** A body that never ends is ended by the server's time-out; nothing waits for it here. */
  readBody(): void {
    const { request, plain } = this.#asked;
    if (plain.length === 0) return this.#enter(null);
    request.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (this.#first === null) this.#first = chunk;
      else (this.#rest ??= []).push(chunk);
      if (this.#bytes === plain.length) this.#enter(this.#body());
    });
  }

  #body(): Buffer {
    const first = this.#first as Buffer;
    return this.#rest === null ? first : Buffer.concat([first, ...this.#rest]);
  }

  #enter(body: Buffer | null): void {
    const { campaign, memberKey } = this.#asked;
    const given = plainAnswersOf(body === null ? '' : body.toString('utf8'));
    const checked = given === null ? null : answersOf(campaign, given);
    if (!checked?.ok) return this.#passOn(body);
    const { answers, screenedOut } = checked;
    try {
      this.#way.deps.admission.enter(campaign, { memberKey, answers, screenedOut }, this);
    } catch (error) {
      this.failed(error);
    }
  }

  #passOn(body: Buffer | null): void {
    const { request, response, address } = this.#asked;
    passOn(request, address, body);
    this.#way.onward(request, response);
  }

  answered(answer: AdmissionAnswer): void {
    try {
      const { status, headers, body } = this.answerOf({ kind: 'decided', answer });
      this.write(status, headers, body);
    } catch (error) {
      this.failed(error);
    }
  }

  failed(error: unknown): void {
    const { deps } = this.#way;
    const asker = { requestId: this.#asked.id, log: deps.log, server: deps };
    const { status, headers, body } = problemOf(error, asker, deps.randomness);
    this.write(status, Object.entries(headers), JSON.stringify(body));
  }

  answerOf(answer: SubmissionAnswer): VerdictAnswer {
    return verdictAnswer(this, answer);
  }

  // Accessors of the class and not of an object made for each answer: such an object has a hidden class of its own in the old space, which keeps
  // the whole request alive until the next full collection (6 KB a request, and collections of 20 ms instead of 2).
  get campaignId(): string {
    return this.#asked.campaign.id;
  }

  get memberKey(): MemberKey {
    return this.#asked.memberKey;
  }

  get definition(): CampaignDefinition {
    return this.#asked.campaign.definition;
  }

  /** Asked for by the one verdict that has words for a person. */
  get language(): 'ko' | 'en' {
    return chooseLocale(undefined, this.#asked.request.headers['accept-language']);
  }

  write(status: number, headers: VerdictAnswer['headers'], body: string): void {
    this.#way.write(this.#asked, status, headers, body);
  }
}
