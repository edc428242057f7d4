/**
 * The member page at `/c/{campaignId}`: every state rendered by `@doorbuster/web` at one stable address, and two forms that work without script, the
 * hand-off from the shop and the entry. After a form the browser is sent back to the page (303), so that a reload repeats nothing.
 */
import formbody from '@fastify/formbody';
import {
  answersFromForm,
  chooseLocale,
  type Locale,
  localizedFaults,
  type MemberPageView,
  memberPageAssets,
  memberPageHeaders,
  memberPageStatus,
  type PageForm,
  renderMemberPage,
} from '@doorbuster/web';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { OperationalError } from '../../errors.ts';
import { isHalted } from '../../ledger.ts';
import type { KnownCampaign } from '../../live/campaign-book.ts';
import type { FinalRecords } from '../../live/final-records.ts';
import { memberOfCookie, ownOrigins, requireOwnOrigin } from '../auth/authenticate.ts';
import type { HttpDeps } from '../deps.ts';
import { HttpProblem, jitteredSeconds } from '../problem.ts';
import { enter } from './enter.ts';
import { pageView, type Visit } from './page-view.ts';
import { openSession, setSessionCookie } from './sessions.ts';

const returnCookie = 'doorbuster_return';

interface Visited {
  Params: { campaignId: string };
  Querystring: { lang?: string };
}
type Fields = Readonly<Record<string, unknown>>;

/** Pages are no API: they are not in the OpenAPI document. */
const hidden = { config: { countsAddress: true }, schema: { hide: true } as object };

export async function pageRoutes(app: FastifyInstance, deps: HttpDeps, finals: FinalRecords): Promise<void> {
  const page = new Pages(deps, finals);
  await app.register(formbody, { bodyLimit: 64 * 1024 });
  app.setErrorHandler((error, request, reply) => page.failed(error, request, reply));
  app.get<Visited>('/c/:campaignId', hidden, (request, reply) => page.show(request, reply));
  app.post<Visited & { Body: Fields | undefined }>('/c/:campaignId/hand-off', hidden, (request, reply) =>
    page.handOff(request, reply),
  );
  app.post<Visited & { Body: Fields | undefined }>('/c/:campaignId/entries', hidden, (request, reply) =>
    page.enter(request, reply),
  );
  // A form that came back stands at this address: its link to the other language leads here.
  app.get<Visited>('/c/:campaignId/entries', hidden, (request, reply) => page.backToPage(request, reply));
  for (const { path, contentType, body, etag } of memberPageAssets) {
    app.get(path, { schema: { hide: true } as object }, (_request, reply) =>
      reply
        .header('content-type', contentType)
        .header('etag', etag)
        .header('cache-control', 'public, max-age=31536000, immutable')
        .send(body),
    );
  }
}

type PageRequest = FastifyRequest<Visited>;
type FormRequest = FastifyRequest<Visited & { Body: Fields | undefined }>;

class Pages {
  readonly #deps: HttpDeps;
  readonly #finals: FinalRecords;

  constructor(deps: HttpDeps, finals: FinalRecords) {
    this.#deps = deps;
    this.#finals = finals;
  }

  async show(request: PageRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { campaignId } = request.params;
    const campaign = await this.#deps.campaigns.find(campaignId);
    // The ledger may show less than the publication itself: that is no wrong address.
    if (!campaign?.lane && isHalted(this.#deps.ledger, campaignId))
      throw new OperationalError('LEDGER_HALTED');
    return this.#send(
      request,
      reply,
      await pageView(this.#deps, this.#finals, campaign, this.#visit(request)),
    );
  }

  /** The shop posts the member's token here from its own page. */
  async handOff(request: FormRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { campaignId } = request.params;
    const { token, returnUrl } = request.body ?? {};
    this.#requireShopOrigin(request);
    if (typeof token !== 'string') throw new OperationalError('TOKEN_INVALID', { detail: 'There is none.' });
    const issued = await openSession(this.#deps, campaignId, token);
    setSessionCookie(this.#deps, request, reply, campaignId, issued);
    const back = this.#allowedReturn(request, returnUrl);
    if (back)
      void reply.setCookie(returnCookie, back, {
        path: `/c/${campaignId}`,
        httpOnly: true,
        sameSite: 'lax',
        secure: request.protocol === 'https',
      });
    return this.backToPage(request, reply);
  }

  async enter(request: FormRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { campaignId } = request.params;
    const { deps } = { deps: this.#deps };
    const memberKey = memberOfCookie(deps, request, campaignId);
    // Without a session the page itself says what to do.
    if (memberKey === null) return this.backToPage(request, reply);
    requireOwnOrigin(deps, request);
    const campaign = await deps.campaigns.find(campaignId);
    if (!campaign?.lane) return this.show(request, reply);
    const survey = campaign.survey?.definition ?? null;
    const { answers, values } = answersFromForm(survey, request.body ?? {});
    try {
      const entered = await enter(deps, campaign, memberKey, answers);
      if (entered.kind === 'faulty') {
        const faults = survey ? localizedFaults(survey, values, entered.faults, localeOf(request)) : {};
        return this.#formAgain(request, reply, campaign, { form: { values, faults } });
      }
      const decision = entered.answer.kind === 'decided' ? entered.answer.answer.decision : null;
      if (decision?.verdict === 'ineligible')
        return this.#formAgain(request, reply, campaign, { ineligible: decision.reason });
      // Too early: what was typed is not lost.
      if (decision?.verdict === 'not-open' && survey)
        return this.#formAgain(request, reply, campaign, { form: { values } });
      return this.backToPage(request, reply);
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      if (error.code === 'LEDGER_HALTED') return this.backToPage(request, reply);
      if (!error.retryable) throw error;
      const retryAfterSeconds = jitteredSeconds(deps.randomness, error.retryAfterMs ?? 1_000);
      return this.#formAgain(request, reply, campaign, { form: { values }, retryAfterSeconds });
    }
  }

  /** Anything thrown on a page route, as a page that a member can read. */
  async failed(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const unknown = error instanceof OperationalError && error.code === 'CAMPAIGN_UNKNOWN';
    if (unknown) return this.#send(request, reply, { state: 'not-found' });
    if (error instanceof OperationalError && error.code === 'TOKEN_INVALID')
      return this.#tokenRefused(request, reply);
    const busy =
      (error instanceof OperationalError && (error.retryable || error.code === 'LEDGER_HALTED')) ||
      (error instanceof HttpProblem && error.status === 503);
    // What a form of a foreign page or broken HTTP meets is for engineers: a problem.
    if (!busy) throw error;
    return this.#send(request, reply, {
      state: 'fallback',
      retryAfterSeconds: jitteredSeconds(
        this.#deps.randomness,
        (error as OperationalError).retryAfterMs ?? 2_000,
      ),
    });
  }

  async #tokenRefused(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { campaignId } = request.params as Visited['Params'];
    const campaign = await this.#deps.campaigns.find(campaignId);
    const view = await pageView(this.#deps, this.#finals, campaign, { memberKey: null, returnUrl: null });
    return this.#send(request, reply, view, 401);
  }

  async #formAgain(
    request: FormRequest,
    reply: FastifyReply,
    campaign: KnownCampaign,
    more: { form?: PageForm; ineligible?: string; retryAfterSeconds?: number },
  ) {
    const view = await pageView(this.#deps, this.#finals, campaign, { ...this.#visit(request), ...more });
    return this.#send(request, reply, view);
  }

  #send(
    request: FastifyRequest,
    reply: FastifyReply,
    view: MemberPageView,
    status = memberPageStatus(view),
  ): FastifyReply {
    const locale = localeOf(request);
    const html = renderMemberPage(view, locale);
    void reply.code(status).headers(memberPageHeaders(view, locale));
    if (request.cookies['doorbuster_session']) void reply.header('cache-control', 'private, no-store');
    return reply.send(html);
  }

  backToPage(request: PageRequest | FormRequest, reply: FastifyReply): FastifyReply {
    const { lang } = request.query;
    const query = lang === 'ko' || lang === 'en' ? `?lang=${lang}` : '';
    return reply.header('cache-control', 'no-store').redirect(`/c/${request.params.campaignId}${query}`, 303);
  }

  #visit(request: PageRequest | FormRequest): Visit {
    const { campaignId } = request.params;
    return {
      memberKey: memberOfCookie(this.#deps, request, campaignId),
      returnUrl: this.#allowedReturn(request, request.cookies[returnCookie]),
    };
  }

  /** The form is sent by the shop's page: a browser says so, and another site could otherwise sign members in as somebody else. */
  #requireShopOrigin(request: FastifyRequest): void {
    const { origin } = request.headers;
    if (origin === undefined) return;
    const allowed = [...this.#deps.config.allowedOrigins, ...ownOrigins(this.#deps.config, request)];
    if (!allowed.includes(origin))
      throw new HttpProblem('origin-refused', { detail: `\`${origin}\` is not among allowedOrigins.` });
  }

  /** An address of the shop to go back to, else null: never anywhere else. */
  #allowedReturn(request: FastifyRequest, url: unknown): string | null {
    if (typeof url !== 'string' || url.length > 2_000 || !URL.canParse(url)) return null;
    const { origin, protocol } = new URL(url);
    if (protocol !== 'https:' && protocol !== 'http:') return null;
    return [...this.#deps.config.allowedOrigins, ...ownOrigins(this.#deps.config, request)].includes(origin)
      ? url
      : null;
  }
}

function localeOf(request: FastifyRequest): Locale {
  return chooseLocale(
    (request.query as { lang?: unknown } | undefined)?.lang,
    request.headers['accept-language'],
  );
}
