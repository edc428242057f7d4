import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { SurveyDefinition } from '@doorbuster/core';
import { memberPageAssets } from './assets.ts';
import { exampleViews } from '../testing/example-views.ts';
import { memberPageHeaders, memberPageStatus } from './page-response.ts';
import type { CampaignView, Locale, MemberPageView } from './page-view.ts';
import { renderMemberPage } from './render.ts';

const locales: readonly Locale[] = ['ko', 'en'];
const all = Object.entries(exampleViews as Record<string, MemberPageView>).flatMap(([name, view]) =>
  locales.map((locale) => ({ name, view, locale, page: renderMemberPage(view, locale) })),
);
const gzipped = (text: string): number => gzipSync(text, { level: 6 }).length;
const count = (page: string, part: string | RegExp): number => page.split(part).length - 1;

describe('every state', () => {
  it.each(all)('$name in $locale is one complete document', ({ page, locale }) => {
    expect(page).toMatch(new RegExp(`^<!doctype html><html lang="${locale}">`));
    expect(page.endsWith('</body></html>')).toBe(true);
    expect(count(page, '<h1>')).toBe(1);
    expect(count(page, '<main')).toBe(1);
    expect(/undefined|NaN|\[object|Invalid Date/.exec(page)?.[0]).toBe(undefined);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map((match) => match[1]);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it.each(all)('$name in $locale runs nothing inline and loads nothing from elsewhere', ({ page }) => {
    const markup = page.replace(/<style>.*?<\/style>/s, '');
    expect(/<[^>]+\s(?:style|on\w+)=/.exec(markup)?.[0]).toBe(undefined);
    expect(/(?:src|action)="(?:https?:)?\/\//.exec(markup)?.[0]).toBe(undefined);
    expect(/<(?:img|iframe|link rel="stylesheet")/.exec(markup)?.[0]).toBe(undefined);
  });

  it.each(all)('$name in $locale fits the first round trip', ({ page }) => {
    expect(gzipped(page)).toBeLessThanOrEqual(14 * 1024);
  });

  it.each(all)('$name in $locale refreshes by itself only without script', ({ page }) => {
    const scripted = page.replace(/<noscript>.*?<\/noscript>/gs, '');
    expect(scripted.includes('http-equiv="refresh"')).toBe(false);
  });
});

describe('the byte budget', () => {
  it('holds for the script', () => {
    const script = memberPageAssets[0];
    expect(gzipped(script?.body ?? '')).toBeGreaterThan(500);
    expect(gzipped(script?.body ?? '')).toBeLessThanOrEqual(3 * 1024);
  });

  it('holds for a long survey that came back with a fault at every question', () => {
    const page = renderMemberPage({ ...exampleViews.open, survey: longSurvey, form: faultsEverywhere }, 'ko');
    expect(page.length).toBeGreaterThan(40_000);
    expect(gzipped(page)).toBeLessThanOrEqual(14 * 1024);
  });
});

// Texts differ everywhere, so that compression cannot make the survey look small.
const words = (seed: string, n: number): string =>
  createHash('sha512').update(seed).digest('base64').slice(0, n);
const longSurvey: SurveyDefinition = {
  questions: Array.from({ length: 20 }, (_, q) => ({
    id: `question-${q}`,
    type: 'single' as const,
    required: true,
    label: { ko: words(`label ${q}`, 40), en: words(`label ${q} en`, 40) },
    options: Array.from({ length: 8 }, (_unused, o) => ({
      id: `option-${o}`,
      label: { ko: words(`option ${q} ${o}`, 20) },
    })),
  })),
};
const faultsEverywhere = {
  values: {},
  faults: Object.fromEntries(longSurvey.questions.map((question) => [question.id, '답을 입력해 주세요.'])),
};

describe('hostile text', () => {
  const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'&\u202e</title></style></textarea>`;
  const text = { ko: evil, en: evil };
  const survey: SurveyDefinition = {
    questions: [
      {
        id: 'constructor',
        type: 'single',
        label: text,
        options: [
          { id: '__proto__', label: text },
          { id: 'b', label: text },
        ],
      },
      { id: 'long', type: 'text', label: text, showIf: { question: 'constructor', anyOf: ['b'] } },
      { id: 'short', type: 'text', maxLength: 20, label: text },
      { id: 'scale', type: 'scale', label: text, minLabel: text, maxLabel: text },
    ],
  };
  const hostile = (view: MemberPageView): MemberPageView =>
    'campaignId' in view
      ? ({
          ...view,
          ...('entry' in view
            ? {
                entry: {
                  ...view.entry,
                  receiptJson: evil,
                  voucher: { code: evil, pin: evil, url: `javascript:${evil}` },
                },
              }
            : {}),
          ...('reason' in view ? { reason: text } : {}),
          ...('receiptJson' in view ? { receiptJson: evil } : {}),
          campaignId: evil,
          title: text,
          prize: text,
          description: text,
          rules: text,
          notice: text,
          timeZone: evil,
          member: { maskedContact: evil },
          survey,
          form: {
            values: { constructor: evil, long: evil, short: evil },
            faults: { long: evil, short: evil },
          },
          returnUrl: 'javascript:alert(1)',
          loginUrl: 'data:text/html,<script>alert(1)</script>',
        } as CampaignView)
      : view;

  it.each(all)('in $name ($locale) stays text', ({ view, locale }) => {
    const page = renderMemberPage(hostile(view), locale);
    // The elements that this package writes, and not one more.
    const scripts = 'campaignId' in view ? 2 : view.state === 'fallback' ? 1 : 0;
    expect(count(page, '<script')).toBe(scripts);
    expect(count(page, '</script')).toBe(scripts);
    expect(page.includes('<img')).toBe(false);
    expect(count(page, '</style')).toBe(1);
    expect(count(page, '</title')).toBe(1);
    expect(/href="(?:javascript|data:text)/.exec(page)?.[0]).toBe(undefined);
    expect(page.includes('\u202e')).toBe(false);
    expect(count(page, '<textarea')).toBe(count(page, '</textarea'));
  });

  it('control: the same text unescaped would be caught', () => {
    const page = renderMemberPage(exampleViews.open, 'ko').replace('<h1>', `<h1>${evil}`);
    expect(count(page, '<script')).toBe(3);
  });
});

describe('what a state shows', () => {
  const page = (view: MemberPageView, locale: Locale = 'en'): string => renderMemberPage(view, locale);

  it('before: a visible disabled button with its reason, and the time that is left', () => {
    const before = page(exampleViews.before);
    expect(/<button class="primary send" id="send"[^>]* aria-describedby="why" disabled>/.test(before)).toBe(
      true,
    );
    expect(before.includes('The button turns on at the opening time.')).toBe(true);
    expect(/<b id="m">12<\/b>/.test(before)).toBe(true);
    expect(/<b id="s">34<\/b>/.test(before)).toBe(true);
    expect(page(exampleViews['before-plain'])).toContain(
      '<noscript><meta http-equiv="refresh" content="300"></noscript>',
    );
  });

  it('before, with a survey: no reload that would lose it, but a button for who has no script', () => {
    const before = page(exampleViews.before);
    expect(before.includes('http-equiv="refresh"')).toBe(false);
    expect(count(before, /<noscript><button class="primary" type="submit">/)).toBe(1);
    for (const name of ['before-plain', 'open', 'busy'] as const)
      expect(count(page(exampleViews[name]), /<noscript><button/)).toBe(0);
  });

  it('open: the button is on, the form posts to the page', () => {
    const open = page(exampleViews.open);
    expect(open.includes(' disabled')).toBe(false);
    expect(open.includes('method="post" action="/c/winter-coffee/entries?lang=en"')).toBe(true);
  });

  it('a form that comes back keeps what was typed and links every fault to its question', () => {
    const faulty = page(exampleViews['open-faults'], 'ko');
    expect(/id="f-visit\.other" name="q\.visit" value="other" checked/.test(faulty)).toBe(true);
    expect(faulty.includes('따뜻한 자리가 더 있으면 좋겠습니다.</textarea>')).toBe(true);
    expect(/aria-describedby="f-likes-hint f-likes-fault"/.test(faulty)).toBe(true);
    for (const target of faulty.matchAll(/href="#([^"]+)"/g))
      expect(faulty.includes(` id="${target[1]}"`)).toBe(true);
    expect(memberPageStatus(exampleViews['open-faults'])).toBe(422);
  });

  it('won: seq, where, by when, and a receipt byte for byte; the voucher only when it is passed', () => {
    const won = page(exampleViews.won);
    expect(won.includes('<p class="big">128</p>')).toBe(true);
    expect(won.includes('m*****@example.com')).toBe(true);
    expect(won.includes('CAFE-7Q2M-9XKD')).toBe(false);
    const shown = /<pre id="receipt" tabindex="0">(.*?)<\/pre>/s.exec(won)?.[1] ?? '';
    const unescaped = shown
      .replaceAll('&quot;', '"')
      .replaceAll('&#39;', "'")
      .replaceAll('&lt;', '<')
      .replaceAll('&gt;', '>')
      .replaceAll('&amp;', '&');
    expect(unescaped).toBe(exampleViews.won.entry.receiptJson);
    expect(page(exampleViews['won-ready'])).toContain('CAFE-7Q2M-9XKD');
  });

  it('a cancelled win shows neither voucher nor arrival', () => {
    const entry = { ...exampleViews['won-ready'].entry, delivery: { state: 'cancelled' as const } };
    const cancelled = page({ ...exampleViews['won-ready'], entry });
    expect(cancelled.includes('took this win back')).toBe(true);
    expect(cancelled.includes('CAFE-7Q2M-9XKD')).toBe(false);
  });

  it('won without a promised time still says when; a sent one does not', () => {
    const { deliverByMs: _, ...entry } = exampleViews.won.entry;
    expect(page({ ...exampleViews.won, entry }).includes('usually within minutes')).toBe(true);
    const sent = page({ ...exampleViews.won, entry: { ...entry, delivery: { state: 'sent' } } });
    expect(sent.includes('usually within minutes')).toBe(false);
    expect(sent.includes('data-state="sent"')).toBe(true);
  });

  it('halted: the word, that the place is safe, and a look for the end of it, with script and without', () => {
    const [en, ko] = [page(exampleViews.halted), page(exampleViews.halted, 'ko')];
    expect(en).toContain('Your place is safe');
    expect(ko).toContain('이미 접수된 참여와 순번은 안전하며');
    expect(en).toContain('<noscript><meta http-equiv="refresh" content="20"></noscript>');
    expect(en).toContain('"field":"state","known":["halted"]');
    expect(en.includes('id="entry"')).toBe(false);
  });

  it('sold out for good does not speak of opening again', () => {
    expect(page(exampleViews['sold-out']).includes('may open again')).toBe(true);
    expect(page({ ...exampleViews['sold-out'], final: true }).includes('may open again')).toBe(false);
  });

  it('sold out: the second it was', () => {
    expect(page(exampleViews['sold-out'])).toMatch(/20:00:08 GMT\+9/);
    expect(page(exampleViews['sold-out'], 'ko')).toMatch(/오후 8:00:08 GMT\+9/);
  });

  it('a text in the other language only is shown and marked as such', () => {
    expect(page({ ...exampleViews.open, title: { ko: '한국어만' } })).toContain(
      '<h1><span lang="ko">한국어만</span></h1>',
    );
  });

  it('no Korean particle follows a variable: values stand alone in their element or behind a colon', () => {
    for (const { page: rendered, locale } of all) {
      if (locale !== 'ko') continue;
      expect(
        /<\/(?:time|strong|b|code)>(?:은|는|이|가|을|를|과|와|으로|로)(?=[\s<])/.exec(rendered)?.[0],
      ).toBe(undefined);
    }
  });
});

describe('how it is sent', () => {
  it('the policy names the hash of the style sheet that is in the page', () => {
    const page = renderMemberPage(exampleViews.open, 'ko');
    const style = /<style>(.*?)<\/style>/s.exec(page)?.[1] ?? '';
    const hash = createHash('sha256').update(style).digest('base64');
    const policy = memberPageHeaders(exampleViews.open, 'ko')['content-security-policy'];
    expect(policy).toContain(`'sha256-${hash}'`);
    expect(policy).not.toContain('unsafe');
  });

  it('and of the one inline script, in the page that has it only', () => {
    const page = renderMemberPage(exampleViews.fallback, 'ko');
    const script = /<script>(.*?)<\/script>/s.exec(page)?.[1] ?? '';
    const hash = createHash('sha256').update(script).digest('base64');
    expect(memberPageHeaders(exampleViews.fallback, 'ko')['content-security-policy']).toContain(
      `script-src 'sha256-${hash}';`,
    );
    expect(memberPageHeaders(exampleViews.open, 'ko')['content-security-policy']).toContain(
      "script-src 'self';",
    );
  });

  it('a page of one member is stored nowhere', () => {
    expect(memberPageHeaders(exampleViews.won, 'ko')['cache-control']).toBe('private, no-store');
    expect(memberPageHeaders(exampleViews['open-faults'], 'ko')['cache-control']).toBe('private, no-store');
    expect(memberPageHeaders(exampleViews.before, 'ko')['cache-control']).toBe('private, no-cache');
  });

  it('status follows the state', () => {
    const statuses = Object.entries(exampleViews).map(([name, view]) => [name, memberPageStatus(view)]);
    expect(Object.fromEntries(statuses)).toMatchObject({
      'not-found': 404,
      fallback: 503,
      busy: 503,
      'not-eligible': 403,
      open: 200,
      won: 200,
      closed: 200,
    });
    expect(memberPageHeaders(exampleViews.busy, 'ko')['retry-after']).toBe('3');
  });

  it('the script has an address of its content', () => {
    const [script] = memberPageAssets;
    expect(script?.path).toMatch(/^\/c\/assets\/[\w-]{16}\.js$/);
    expect(renderMemberPage(exampleViews.open, 'ko')).toContain(`src="${script?.path}"`);
  });
});
