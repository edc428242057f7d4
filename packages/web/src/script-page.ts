/**
 * What the page tells its script, and what it asks of a browser without one. The script has no words, addresses or numbers of its
 * own: all come from here, in the page's language.
 */
import { entriesUrl, mineUrl, pageUrl, statusUrl } from './page-urls.ts';
import type { CampaignView, Locale } from './page-view.ts';
import { texts } from './texts.ts';

/** The JSON block `#page`. `browser/member-page.ts` reads exactly this. */
export interface ScriptPage {
  readonly id: string;
  readonly state: CampaignView['state'];
  /** Server's clock when the page was made. */
  readonly now: number;
  readonly start: number;
  readonly locale: string;
  readonly page: string;
  readonly status: string;
  readonly entries: string;
  readonly mine: string;
  /** The countdown ends in an open form (`before`), or in a reload (`sign-in-needed`); false: no countdown. */
  readonly countdown: boolean;
  /**
   * What to ask, about how often in ms, and when to load the page again: as soon as `field` is none of the values that this page
   * was made with. `remaining` is only shown. Null: nothing to watch.
   */
  readonly watch: {
    readonly url: string;
    readonly every: number;
    /** Ask for events first, and poll only where none come: for what changes within seconds, since each reader holds a connection. */
    readonly events?: true;
    readonly field: 'verdict' | 'status' | 'delivery' | 'state' | 'soldOut' | 'remaining';
    readonly known: readonly unknown[];
  } | null;
  /** Seconds until the script sends a busy form again; 0: it does not. */
  readonly retry: number;
  /** The form came back with what the member had typed: the draft must not overwrite it. */
  readonly filled: boolean;
  readonly words: Readonly<Record<string, string>>;
}

export function scriptPage(view: CampaignView, locale: Locale): ScriptPage {
  const words = texts[locale];
  return {
    id: view.campaignId,
    state: view.state,
    now: view.serverNowMs,
    start: view.startsAtMs,
    locale,
    page: pageUrl(view),
    status: statusUrl(view),
    entries: entriesUrl(view),
    mine: mineUrl(view),
    countdown: view.state === 'before' || (view.state === 'sign-in-needed' && !view.opened),
    watch: watched(view),
    retry: view.state === 'busy' ? view.retryAfterSeconds : 0,
    filled: view.form?.values !== undefined,
    words: {
      ...words.script,
      badge: words.badge.open,
      now: words.openNow,
      why: words.openLead,
      unit: words.quantityUnit('{n}'),
    },
  };
}

function watched(view: CampaignView): ScriptPage['watch'] {
  const mine = mineUrl(view);
  const status = statusUrl(view);
  switch (view.state) {
    case 'pending':
      return { url: mine, every: 1500, events: true, field: 'verdict', known: ['pending', null] };
    case 'won':
      // Ready on this page is not yet sent: the message may still be under way.
      return ['preparing', 'ready'].includes(view.entry.delivery?.state ?? '')
        ? { url: mine, every: 4000, events: true, field: 'delivery', known: ['due', 'sending', 'unknown'] }
        : null;
    case 'waitlisted':
      return { url: mine, every: 30_000, field: 'status', known: ['live'] };
    case 'paused':
    case 'halted':
      return { url: status, every: 10_000, field: 'state', known: [view.state] };
    case 'sold-out':
      return view.final ? null : { url: status, every: 10_000, field: 'soldOut', known: [true] };
    case 'open':
      return view.remaining === undefined
        ? null
        : { url: status, every: 6000, field: 'remaining', known: [] };
    default:
      return null;
  }
}

/**
 * How soon a browser without script asks again. Before opening: at the opening, or in five minutes. Null: no need, or a form that
 * must not be lost: a reload would lose what was typed.
 */
export function noScriptRefreshSeconds(view: CampaignView): number | null {
  const untilOpen = Math.ceil((view.startsAtMs - view.serverNowMs) / 1000) + 1;
  switch (view.state) {
    case 'before':
      return view.survey?.questions.length ? null : Math.max(2, Math.min(untilOpen, 300));
    case 'sign-in-needed':
      return view.opened ? null : Math.max(2, Math.min(untilOpen, 300));
    case 'pending':
      return 3;
    case 'paused':
    case 'halted':
      return 20;
    default:
      return null;
  }
}
