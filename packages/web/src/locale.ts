/**
 * Which language a request gets, and numbers and times in it. `Intl` formatters are dear to make and the page is rendered for a
 * crowd, so they are kept, a bounded number of them.
 */
import { type EpochMs, type LocalizedText, textIn } from '@doorbuster/core';
import { type Html, html } from './html.ts';
import type { Locale } from './page-view.ts';

const tags: Readonly<Record<Locale, string>> = { ko: 'ko-KR', en: 'en-GB' };

/**
 * `?lang=` wins, then `Accept-Language` by its weights, then Korean.
 * @param lang the query's value, whatever it is
 */
export function chooseLocale(lang: unknown, acceptLanguage: string | undefined): Locale {
  if (lang === 'ko' || lang === 'en') return lang;
  const wanted = (acceptLanguage ?? '')
    .slice(0, 500)
    .split(',')
    .map((part) => {
      const [tag = '', ...parameters] = part.trim().toLowerCase().split(';');
      const weight = parameters.map((p) => /^\s*q=([\d.]+)/.exec(p)?.[1]).find(Boolean);
      return { language: tag.split('-')[0], weight: weight ? Number(weight) : 1 };
    })
    .filter(({ language, weight }) => (language === 'ko' || language === 'en') && weight > 0)
    .sort((a, b) => b.weight - a.weight);
  return wanted[0]?.language === 'en' ? 'en' : 'ko';
}

/** The text in the page's language, else in the other one and marked as such for screen readers. */
export function localized(text: LocalizedText | undefined, locale: Locale): Html | null {
  if (!text) return null;
  const own = text[locale];
  if (own) return html`${own}`;
  const other: Locale = locale === 'ko' ? 'en' : 'ko';
  return text[other] ? html`<span lang="${other}">${text[other]}</span>` : null;
}

/** The same as a bare string, for the title and attributes. */
export function plain(text: LocalizedText | undefined, locale: Locale): string {
  return text ? textIn(text, locale) : '';
}

interface Formatters {
  readonly date: Intl.DateTimeFormat;
  readonly clock: Intl.DateTimeFormat;
  readonly zone: Intl.DateTimeFormat;
}
type Precision = 'minute' | 'second';

const formatters = new Map<string, Formatters>();
const maximumFormatters = 256;

function formattersOf(locale: Locale, timeZone: string, precision: Precision): Formatters {
  const key = `${locale} ${precision} ${timeZone}`;
  const kept = formatters.get(key);
  if (kept) return kept;
  const made = makeFormatters(locale, knownZone(timeZone), precision);
  if (formatters.size >= maximumFormatters) formatters.clear();
  formatters.set(key, made);
  return made;
}

function knownZone(timeZone: string): string {
  try {
    return new Intl.DateTimeFormat('en', { timeZone }).resolvedOptions().timeZone;
  } catch {
    return 'UTC';
  }
}

/** Date, clock and zone apart: together, Korean writes the clock as words (8 hours 0 minutes 1 second). `h11`: midnight is 0:00, never 12:00. */
function makeFormatters(locale: Locale, timeZone: string, precision: Precision): Formatters {
  const month = locale === 'ko' ? 'long' : 'short';
  return {
    date: new Intl.DateTimeFormat(tags[locale], { timeZone, month, day: 'numeric', weekday: 'short' }),
    clock: new Intl.DateTimeFormat(tags[locale], {
      timeZone,
      hour: locale === 'ko' ? 'numeric' : '2-digit',
      minute: '2-digit',
      ...(precision === 'second' ? { second: '2-digit' } : {}),
      hourCycle: locale === 'ko' ? 'h11' : 'h23',
    }),
    zone: new Intl.DateTimeFormat(tags[locale], { timeZone, hour: 'numeric', timeZoneName: 'short' }),
  };
}

/** A `<time>` in the campaign's zone, with the zone named. */
export function time(at: EpochMs, locale: Locale, timeZone: string, precision: Precision = 'minute'): Html {
  const when = new Date(at);
  const { date, clock, zone } = formattersOf(locale, timeZone, precision);
  const zoneName = zone.formatToParts(when).find((part) => part.type === 'timeZoneName')?.value;
  return html`<time datetime="${when.toISOString()}">${date.format(when)} <span class="nb">${clock.format(when)} ${zoneName}</span></time>`;
}

const numbers: Readonly<Record<Locale, Intl.NumberFormat>> = {
  ko: new Intl.NumberFormat('ko-KR'),
  en: new Intl.NumberFormat('en-GB'),
};

export function number(value: number, locale: Locale): string {
  return numbers[locale].format(value);
}
