import { describe, expect, it } from 'vitest';
import { chooseLocale, time } from './locale.ts';

describe('the language of a request', () => {
  it.each([
    [undefined, undefined, 'ko'],
    ['en', 'ko', 'en'],
    ['ko', 'en', 'ko'],
    ['fr', 'en', 'en'],
    [['en'], undefined, 'ko'],
    [undefined, 'en-US,en;q=0.9,ko;q=0.8', 'en'],
    [undefined, 'fr, en;q=0.3, ko;q=0.7', 'ko'],
    [undefined, 'en;q=0, ko;q=0.1', 'ko'],
    [undefined, 'ja,zh', 'ko'],
    [undefined, 'en;q=abc', 'en'],
  ])('?lang=%s and Accept-Language %s: %s', (lang, accepted, locale) => {
    expect(chooseLocale(lang, accepted)).toBe(locale);
  });
});

describe('times', () => {
  const midnight = Date.parse('2026-12-02T00:00:00+09:00');
  it.each([
    ['ko', 'Asia/Seoul', 'minute', '12월 2일 (수) <span class="nb">오전 0:00 GMT+9'],
    ['en', 'Asia/Seoul', 'second', 'Wed 2 Dec <span class="nb">00:00:00 GMT+9'],
    ['ko', 'America/New_York', 'second', '12월 1일 (화) <span class="nb">오전 10:00:00 GMT-5'],
    ['en', 'Not/AZone', 'minute', 'Tue 1 Dec <span class="nb">15:00 UTC'],
  ] as const)('%s in %s to the %s', (locale, zone, precision, text) => {
    expect(time(midnight, locale, zone, precision).text).toContain(text);
  });
});
