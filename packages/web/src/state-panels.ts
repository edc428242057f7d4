/**
 * The panel of each state: what the member can do now, or what became of the entry. One function per state, chosen in one switch.
 */
import { type Html, html, webUrl } from './html.ts';
import { localized, number, time } from './locale.ts';
import { downloadUrl, entryForm } from './page-urls.ts';
import type { CampaignView, Locale, PageDelivery, PageEntry, PageVoucher } from './page-view.ts';
import { faultSummary, surveyQuestions } from './survey-form.ts';
import { type Texts, texts } from './texts.ts';

type In<State extends CampaignView['state']> = Extract<CampaignView, { state: State }>;

interface Words {
  readonly locale: Locale;
  readonly words: Texts;
}

export function panel(view: CampaignView, locale: Locale): Html {
  const w: Words = { locale, words: texts[locale] };
  switch (view.state) {
    case 'before':
    case 'open':
    case 'busy':
      return entering(view, w);
    case 'won':
    case 'waitlisted':
      return entered(view, w);
    case 'pending':
      return pending(view, w);
    case 'sold-out':
      return soldOut(view, w);
    case 'sign-in-needed':
      return signIn(view, w);
    case 'not-eligible':
      return notEligible(view, w);
    case 'paused':
      return html`<section class="card act"><h2>${w.words.pausedTitle}</h2><p class="lead">${w.words.pausedLead}</p></section>`;
    case 'halted':
      return html`<section class="card act"><h2>${w.words.haltedTitle}</h2><p class="lead">${w.words.haltedLead}</p></section>`;
    case 'closed':
      return closed(view, w);
  }
}

function entering(view: In<'before' | 'open' | 'busy'>, { locale, words }: Words): Html {
  const before = view.state === 'before';
  const survey = view.survey?.questions.length ? view.survey : undefined;
  const send = html`<button class="primary${survey ? ' send' : ''}" id="send" type="submit" aria-describedby="why"${before && html` disabled`}>${
    view.state === 'busy' ? words.submitAgain : words.submit
  }</button><p class="why" id="why">${before ? words.submitWhy : words.openLead}</p>`;
  // Pressed too early, the form comes back as it was: so no reload is needed, which would lose it.
  const early =
    before &&
    survey &&
    html`<noscript><button class="primary" type="submit">${words.submitEarly}</button></noscript>`;
  const now = html`<section class="card act" id="now">${nowHtml(view, { locale, words })}${survey ? null : html`<div class="send">${send}</div>`}</section>`;
  return html`${faultSummary(survey, view.form, locale)}<form id="entry" method="post" action="${entryForm(view, locale)}">${now}${
    survey &&
    html`<section class="card" aria-labelledby="survey"><h2 id="survey">${words.survey}</h2>${before && html`<p class="hint">${words.surveyBefore}</p>`}${surveyQuestions(survey, view.form, locale)}${send}${early}</section>`
  }</form>`;
}

function nowHtml(view: In<'before' | 'open' | 'busy'>, { locale, words }: Words): Html {
  if (view.state === 'before') return countdown(view, { locale, words });
  if (view.state === 'open')
    return html`<h2>${words.openNow}</h2>${view.survey && html`<p class="lead">${words.surveyOpen}</p>`}`;
  return html`<h2>${words.busyTitle}</h2><p class="lead">${words.busyText(number(view.retryAfterSeconds, locale))}</p>`;
}

/** What is left as of the server's clock when the page was made; the script takes it from there. */
function countdown(view: CampaignView, { locale, words }: Words): Html {
  const left = Math.max(0, Math.ceil((view.startsAtMs - view.serverNowMs) / 1000));
  const parts: readonly (readonly [string, number, string])[] = [
    ['d', Math.floor(left / 86_400), words.days],
    ['h', Math.floor(left / 3600) % 24, words.hours],
    ['m', Math.floor(left / 60) % 60, words.minutes],
    ['s', left % 60, words.seconds],
  ];
  return html`<h2 class="label" id="until">${words.untilOpen}</h2><div class="clock" role="timer" aria-labelledby="until">${parts.map(
    ([id, value, unit]) =>
      html`<span${id === 'd' && value === 0 && html` hidden`}><b id="${id}">${String(value).padStart(id === 'd' ? 1 : 2, '0')}</b>${unit}</span>`,
  )}</div><p class="hint">${words.serverClock}</p><noscript><p class="hint">${words.asOf}: ${time(view.serverNowMs, locale, view.timeZone, 'second')}</p><p class="hint">${
    view.state === 'before' && view.survey?.questions.length ? words.withoutScript : words.withoutScriptPlain
  }</p></noscript>`;
}

function signIn(view: In<'sign-in-needed'>, w: Words): Html {
  const { words } = w;
  const login = webUrl(view.loginUrl) ?? webUrl(view.returnUrl);
  const title = html`<h2>${view.opened ? words.signInTitleOpen : words.signInTitleBefore}</h2><p class="lead">${words.signInLead}</p>`;
  return html`<section class="card act" id="now">${view.opened ? null : countdown(view, w)}${title}${
    login && html`<div class="send"><a class="button primary" href="${login}">${words.signIn}</a></div>`
  }</section>`;
}

function entered(view: In<'won' | 'waitlisted'>, w: Words): Html {
  const { locale, words } = w;
  const { entry } = view;
  const won = view.state === 'won';
  const cancelled = entry.delivery?.state === 'cancelled';
  return html`<section class="card act${won && !cancelled ? ' good' : ''}"><h2>${won ? words.wonTitle : words.waitTitle}</h2>${
    view.repeated && html`<p class="lead">${words.repeated}</p>`
  }${entry.promoted && html`<p class="lead">${words.promoted}</p>`}<p class="big">${number(entry.seq, locale)}</p><p class="label">${
    words.seq
  }</p>${entry.voucher && !cancelled && voucher(entry.voucher, view, w)}<dl>${won && gift(view, w)}<dt>${words.enteredAt}</dt><dd>${time(
    entry.enteredAtMs,
    locale,
    view.timeZone,
    'second',
  )}</dd></dl><p class="fine">${won ? words.wonLead : words.waitLead}</p></section>${receipt(entry, view, w)}`;
}

function gift(view: In<'won' | 'waitlisted'>, w: Words): Html {
  const { locale, words } = w;
  const { unit, delivery, deliverByMs } = view.entry;
  const prize = localized(view.prize, locale);
  const open = delivery?.state !== 'cancelled';
  return html`${prize && html`<dt>${words.whatArrives}</dt><dd>${prize}</dd>`}${
    open &&
    (delivery?.state !== 'ready' || view.member?.maskedContact) &&
    html`<dt>${words.where}</dt><dd>${view.member?.maskedContact ?? words.whereUnknown}</dd>`
  }${
    (delivery === undefined || delivery.state === 'preparing') &&
    html`<dt>${words.byWhen}</dt><dd>${
      deliverByMs === undefined ? words.byWhenUsual : time(deliverByMs, locale, view.timeZone)
    }</dd>`
  }${delivery && html`<dt>${words.fate}</dt><dd id="fate" data-state="${delivery.state}">${deliveryText(delivery, view, w)}</dd>`}${
    unit !== undefined && html`<dt>${words.unit}</dt><dd>${number(unit, locale)}</dd>`
  }`;
}

function deliveryText(delivery: PageDelivery, view: CampaignView, { locale, words }: Words): Html {
  const at = delivery.state === 'sent' ? delivery.atMs : undefined;
  return html`${words.delivery[delivery.state]}${at !== undefined && html`<br>${time(at, locale, view.timeZone)}`}`;
}

function voucher(given: PageVoucher, view: CampaignView, { locale, words }: Words): Html {
  const url = webUrl(given.url);
  return html`<div class="voucher"><p class="label">${words.voucher}</p><code id="voucher">${given.code}</code>${
    given.pin !== undefined && html`<p>${words.pin}: <strong>${given.pin}</strong></p>`
  }${given.expiresAtMs !== undefined && html`<p class="hint">${words.expires}: ${time(given.expiresAtMs, locale, view.timeZone)}</p>`}<div class="row"><button type="button" data-copy="voucher" hidden>${
    words.copyVoucher
  }</button>${url && html`<a class="button" href="${url}" rel="noopener noreferrer">${words.voucherUse}</a>`}</div></div>`;
}

/** Copying needs the script, so its button comes with it; the text and the download are always there. */
function receipt(entry: PageEntry, view: CampaignView, { words }: Words): Html {
  return html`<section class="card"><h2>${words.receipt}</h2><p class="hint">${words.receiptLead}</p><div class="row"><button type="button" data-copy="receipt" hidden>${
    words.receiptCopy
  }</button><a class="button" href="${downloadUrl(view)}" download="${view.campaignId}-entry.json">${words.receiptDownload}</a></div>${proofDetails(
    entry.receiptJson,
    view,
    words,
  )}</section>`;
}

function proofDetails(receiptJson: string, view: CampaignView, words: Texts): Html {
  return html`<details><summary>${words.receiptShow}</summary><pre id="receipt" tabindex="0">${receiptJson}</pre><p class="hint">${words.proof}</p><pre tabindex="0">npx doorbuster verify receipt.json</pre><p><a href="${
    view.keysUrl ?? '/.well-known/doorbuster-keys.json'
  }">${words.keys}</a></p></details>`;
}

function pending(view: In<'pending'>, { locale, words }: Words): Html {
  return html`<section class="card act good"><h2>${words.pendingTitle}</h2><p class="lead">${words.pendingLead}</p>${
    view.sentAtMs !== undefined &&
    html`<dl><dt>${words.sentFormAt}</dt><dd>${time(view.sentAtMs, locale, view.timeZone, 'second')}</dd></dl>`
  }<noscript><p class="why">${words.withoutScriptPlain}</p></noscript></section>`;
}

function soldOut(view: In<'sold-out'>, { locale, words }: Words): Html {
  return html`<section class="card act"><h2>${words.soldOutTitle}</h2><p class="lead">${view.final ? words.soldOutFinal : words.soldOutLead}</p><dl><dt>${words.soldOutAt}</dt><dd>${time(
    view.soldOutAtMs,
    locale,
    view.timeZone,
    'second',
  )}</dd></dl></section>${recordProof(view.receiptJson, view, words)}`;
}

function recordProof(receiptJson: string | undefined, view: CampaignView, words: Texts): Html | null {
  if (receiptJson === undefined) return null;
  return html`<section class="card"><h2>${words.receiptOfRecord}</h2><p class="hint">${words.receiptLead}</p><div class="row"><button type="button" data-copy="receipt" hidden>${
    words.receiptCopy
  }</button></div>${proofDetails(receiptJson, view, words)}</section>`;
}

function notEligible(view: In<'not-eligible'>, { locale, words }: Words): Html {
  const reason = localized(view.reason, locale);
  return html`<section class="card act"><h2>${words.notEligibleTitle}</h2><p class="lead">${words.notEligibleLead}</p>${
    reason && html`<dl><dt>${words.reason}</dt><dd>${reason}</dd></dl>`
  }</section>`;
}

function closed(view: In<'closed'>, { locale, words }: Words): Html {
  const login = view.signedIn ? null : webUrl(view.loginUrl);
  return html`<section class="card act"><h2>${words.closedTitle}</h2><p class="lead">${
    view.signedIn ? words.closedNoEntry : words.closedSignIn
  }</p><dl><dt>${words.closedAt}</dt><dd>${time(view.closedAtMs, locale, view.timeZone, 'second')}</dd></dl>${
    login && html`<div class="send"><a class="button primary" href="${login}">${words.lookUp}</a></div>`
  }</section>${recordProof(view.receiptJson, view, words)}`;
}
