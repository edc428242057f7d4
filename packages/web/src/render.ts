/**
 * The member page: a view in, one complete HTML document out. Pure, so that every state can be rendered, measured and looked at
 * without a server. Every state is rendered here, and the script only moves between them: a reload always shows the same.
 *
 * Order of the page: what it is (title, prize, facts), what to do now (the panel of the state), what is good to know (about, rules).
 */
import { fallbackScript, memberPageAssets } from './assets.ts';
import { type Html, html, jsonBlock, trusted } from './html.ts';
import { localized, number, plain, time } from './locale.ts';
import type { CampaignView, Locale, MemberPageView } from './page-view.ts';
import { noScriptRefreshSeconds, scriptPage } from './script-page.ts';
import { shopLink } from './page-urls.ts';
import { panel } from './state-panels.ts';
import { styleSheet } from './style.ts';
import { type Texts, texts } from './texts.ts';

export function renderMemberPage(view: MemberPageView, locale: Locale): string {
  return view.state === 'not-found' || view.state === 'fallback'
    ? bareDocument(view, locale).text
    : campaignDocument(view, locale).text;
}

interface DocumentParts {
  readonly title: string;
  readonly locale: Locale;
  readonly head?: Html | null;
  readonly body: Html;
}

function documentHtml({ title, locale, head, body }: DocumentParts): Html {
  return html`<!doctype html><html lang="${locale}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark"><meta name="robots" content="noindex"><title>${title}</title><link rel="icon" href="data:,"><style>${trusted(styleSheet)}</style>${head}</head><body>${body}</body></html>`;
}

function bareDocument(
  view: Extract<MemberPageView, { state: 'not-found' | 'fallback' }>,
  locale: Locale,
): Html {
  const words = texts[locale];
  const fallback = view.state === 'fallback';
  const title = fallback ? words.fallbackTitle : words.notFoundTitle;
  const retry = fallback
    ? html`<p class="why">${words.fallbackEvery(number(view.retryAfterSeconds, locale))}</p><div class="row"><a class="button primary" href="">${words.fallbackRetry}</a></div>`
    : null;
  return documentHtml({
    title,
    locale,
    head: fallback ? retryHead(view.retryAfterSeconds) : null,
    body: html`<div class="page"><header><span></span>${languageLink(locale, words)}</header><main class="one"><section class="card act"><h1>${title}</h1><p class="lead">${
      fallback ? words.fallbackLead : words.notFoundLead
    }</p>${retry}</section></main></div>`,
  });
}

/** With script at a random moment around the time asked for, so that a crowd does not come back as one. */
function retryHead(seconds: number): Html {
  return html`<meta name="retry-after" content="${seconds}"><noscript><meta http-equiv="refresh" content="${seconds}"></noscript><script>${trusted(fallbackScript)}</script>`;
}

function languageLink(locale: Locale, words: Texts): Html {
  const other: Locale = locale === 'ko' ? 'en' : 'ko';
  return html`<a class="lang" href="?lang=${other}" lang="${other}" hreflang="${other}" title="${words.otherLanguageHint}">${words.otherLanguage}</a>`;
}

function campaignDocument(view: CampaignView, locale: Locale): Html {
  const words = texts[locale];
  const badge = words.badge[view.state];
  const live = view.state === 'open' || view.state === 'busy' || view.state === 'won';
  const refresh = noScriptRefreshSeconds(view);
  return documentHtml({
    title: `${badge} · ${plain(view.title, locale)}`,
    locale,
    head: html`${refresh !== null && html`<noscript><meta http-equiv="refresh" content="${refresh}"></noscript>`}<script type="module" src="${scriptPath()}"></script>`,
    body: html`<div class="page"><header class="${live ? 'live' : ''}"><span class="badge" id="badge">${badge}</span>${languageLink(
      locale,
      words,
    )}</header><main>${hero(view, locale, words)}<div class="side">${panel(view, locale)}</div>${prose(view, locale, words)}</main>${footer(
      view,
      words,
    )}<p class="vh" role="status" id="live"></p></div><script type="application/json" id="page">${jsonBlock(scriptPage(view, locale))}</script>`,
  });
}

function scriptPath(): string {
  return memberPageAssets[0]?.path ?? '';
}

function hero(view: CampaignView, locale: Locale, words: Texts): Html {
  const notice = localized(view.notice, locale);
  const prize = localized(view.prize, locale);
  return html`<div class="hero"><h1>${localized(view.title, locale)}</h1>${prize && html`<p class="prize">${prize}</p>`}${
    notice && html`<p class="notice">${notice}</p>`
  }${settled(view) ? null : facts(view, locale, words)}</div>`;
}

/** Once there is an outcome it comes first, and the facts of the campaign step behind it. */
function settled({ state }: CampaignView): boolean {
  return !['before', 'open', 'busy', 'sign-in-needed'].includes(state);
}

function facts(view: CampaignView, locale: Locale, words: Texts): Html {
  const { quantity, remaining, startsAtMs, endsAtMs, timeZone, state } = view;
  // Shown while something can still be done about a wrong one; an outcome names it itself.
  const contact = settled(view) ? undefined : view.member?.maskedContact;
  const counted =
    remaining !== undefined && (state === 'open' || state === 'busy' || state === 'sign-in-needed');
  return html`<dl class="facts"><dt>${words.quantity}</dt><dd>${words.quantityUnit(number(quantity, locale))}</dd>${
    counted &&
    html`<dt>${words.remaining}</dt><dd id="remaining">${words.quantityUnit(number(remaining, locale))}</dd>`
  }<dt>${words.opens}</dt><dd id="opens">${time(startsAtMs, locale, timeZone)}</dd><dt>${words.ends}</dt><dd>${
    endsAtMs === null ? words.endsWhenGone : time(endsAtMs, locale, timeZone)
  }</dd><dt>${words.order}</dt><dd>${words.orderValue}</dd>${
    contact && html`<dt>${words.where}</dt><dd>${contact}</dd>`
  }</dl>`;
}

function prose(view: CampaignView, locale: Locale, words: Texts): Html {
  const about = localized(view.description, locale);
  const rules = localized(view.rules, locale);
  return html`<div class="more">${settled(view) && facts(view, locale, words)}${about && html`<section class="prose"><h2>${words.about}</h2><p>${about}</p></section>`}${
    rules && html`<section class="prose"><h2>${words.rules}</h2><p>${rules}</p></section>`
  }</div>`;
}

function footer(view: CampaignView, words: Texts): Html | null {
  const shop = shopLink(view);
  return shop === null ? null : html`<footer><a class="button" href="${shop}">${words.back}</a></footer>`;
}
