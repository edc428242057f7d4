/**
 * One realistic view of every state, for the tests and for looking at the page without a server. Fixed times: the same view always
 * renders the same bytes.
 */
import type { SurveyDefinition } from '@doorbuster/core';
import type { MemberPageView, PageEntry } from '../src/page-view.ts';

const minute = 60_000;
const startsAtMs = Date.parse('2026-12-01T20:00:00+09:00');

const survey: SurveyDefinition = {
  questions: [
    {
      id: 'visit',
      type: 'single',
      required: true,
      label: { ko: '저희 매장을 어떻게 알게 되셨나요?', en: 'How did you hear about us?' },
      options: [
        { id: 'friend', label: { ko: '지인 추천', en: 'A friend' } },
        { id: 'search', label: { ko: '검색', en: 'Search' } },
        { id: 'other', label: { ko: '기타', en: 'Something else' } },
      ],
    },
    {
      id: 'where',
      type: 'text',
      maxLength: 60,
      label: { ko: '어디에서 보셨나요?', en: 'Where did you see us?' },
      showIf: { question: 'visit', anyOf: ['other'] },
    },
    {
      id: 'likes',
      type: 'multiple',
      maxChoices: 2,
      label: { ko: '가장 자주 찾는 메뉴', en: 'What you order most' },
      options: [
        { id: 'latte', label: { ko: '카페 라테', en: 'Caffè latte' } },
        { id: 'brew', label: { ko: '콜드 브루', en: 'Cold brew' } },
        { id: 'tea', label: { ko: '차', en: 'Tea' } },
      ],
    },
    {
      id: 'score',
      type: 'scale',
      required: true,
      label: { ko: '최근 방문에 얼마나 만족하셨나요?', en: 'How satisfied were you last time?' },
      minLabel: { ko: '아쉬움', en: 'Not at all' },
      maxLabel: { ko: '아주 만족', en: 'Very' },
    },
    {
      id: 'cups',
      type: 'number',
      integer: true,
      min: 0,
      max: 50,
      label: { ko: '일주일에 드시는 커피', en: 'Cups of coffee a week' },
    },
    { id: 'wish', type: 'text', label: { ko: '바라는 점', en: 'What should we do better?' } },
  ],
};

const base = {
  campaignId: 'winter-coffee',
  title: { ko: '겨울 커피 교환권 500장', en: '500 winter coffee vouchers' },
  prize: { ko: '아메리카노 모바일 교환권 1장', en: 'One mobile voucher for an Americano' },
  description: {
    ko: '설문에 답해 주신 회원께 선착순으로 커피 교환권을 보내 드립니다.\n교환권은 당첨 확정 후 등록된 연락처로 발송됩니다.',
    en: 'Answer a short survey and get a coffee voucher, first come, first served.\nIt is sent to the contact your shop has for you.',
  },
  rules: {
    ko: '회원당 한 번만 참여할 수 있습니다.\n접수 순서는 서버에 저장된 순서이며, 접수증으로 누구나 확인할 수 있습니다.\n교환권은 발급일부터 30일 동안 사용할 수 있습니다.',
    en: 'Once per member.\nThe order is the order in which entries are stored, and anybody can check it with the receipt.\nVouchers are valid for 30 days.',
  },
  quantity: 500,
  startsAtMs,
  endsAtMs: startsAtMs + 4 * 60 * minute,
  timeZone: 'Asia/Seoul',
  serverNowMs: startsAtMs + 3 * minute,
  returnUrl: 'https://shop.example/',
  loginUrl: 'https://shop.example/login?next=winter-coffee',
} as const;

const receiptJson = JSON.stringify({
  v: 1,
  campaign: 'winter-coffee',
  lane: 0,
  epoch: 1,
  record:
    '{"recordNo":130,"at":1764586801204,"type":"ENTRY","seq":128,"verdict":"won","unit":128,"member":"9f2c5a1b7e3d4f60a8b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f50617","answers":"1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809"}',
  path: Array.from({ length: 8 }, (_, i) => `${i}`.repeat(64)),
  prevHead: 'c0ffee'.padEnd(64, '0'),
  firstRecordNo: 2,
  count: 200,
  time: startsAtMs + 1204,
  kid: 'k-2026-11',
  signature: 'Zm9yIGEgbG9vayBhdCB0aGUgcGFnZSBvbmx5LCBub3RoaW5nIGlzIHNpZ25lZCBoZXJlLCBzaXh0eS1mb3VyIGJ5dGVz',
});

const won: PageEntry = {
  verdict: 'won',
  seq: 128,
  unit: 128,
  enteredAtMs: startsAtMs + 1204,
  receiptJson,
  delivery: { state: 'preparing' },
  deliverByMs: startsAtMs + 30 * minute,
};

const member = { maskedContact: 'm*****@example.com' };
const waiting: PageEntry = { verdict: 'waitlisted', seq: 541, enteredAtMs: startsAtMs + 9_870, receiptJson };

export const exampleViews = {
  'not-found': { state: 'not-found' },
  fallback: { state: 'fallback', retryAfterSeconds: 15 },
  before: { ...base, state: 'before', survey, member, serverNowMs: startsAtMs - 754_000 },
  'before-plain': { ...base, state: 'before', member, serverNowMs: startsAtMs - 3 * 86_400_000 - 754_000 },
  open: { ...base, state: 'open', survey, member, remaining: 372 },
  'open-plain': {
    ...base,
    state: 'open',
    member,
    remaining: 372,
    notice: { ko: '오늘은 발송이 조금 늦을 수 있습니다.', en: 'Delivery may be a little late today.' },
  },
  'open-faults': {
    ...base,
    state: 'open',
    survey,
    member,
    remaining: 372,
    form: {
      values: {
        visit: 'other',
        likes: ['latte', 'brew', 'tea'],
        wish: '따뜻한 자리가 더 있으면 좋겠습니다.',
      },
      faults: { likes: '최대 2개까지 고를 수 있습니다.', score: '답을 입력해 주세요.' },
    },
  },
  busy: {
    ...base,
    state: 'busy',
    survey,
    member,
    retryAfterSeconds: 3,
    form: { values: { visit: 'friend', score: '5' } },
  },
  won: { ...base, state: 'won', member, entry: won },
  'won-ready': {
    ...base,
    state: 'won',
    member,
    repeated: true,
    entry: {
      ...won,
      delivery: { state: 'sent', atMs: startsAtMs + 2 * minute },
      voucher: {
        code: 'CAFE-7Q2M-9XKD',
        pin: '4821',
        url: 'https://voucher.example/v/7q2m',
        expiresAtMs: startsAtMs + 30 * 86_400_000,
      },
    },
  },
  waitlisted: { ...base, state: 'waitlisted', member, entry: waiting },
  pending: { ...base, state: 'pending', member, sentAtMs: startsAtMs + 1204 },
  'sold-out': { ...base, state: 'sold-out', member, soldOutAtMs: startsAtMs + 8_431, receiptJson },
  'sign-in-needed': { ...base, state: 'sign-in-needed', opened: false, serverNowMs: startsAtMs - 754_000 },
  'not-eligible': {
    ...base,
    state: 'not-eligible',
    member,
    reason: {
      ko: '최근 1년 안에 구매한 회원만 참여할 수 있습니다.',
      en: 'Open to members who bought something within a year.',
    },
  },
  paused: { ...base, state: 'paused', member },
  halted: { ...base, state: 'halted', member },
  closed: {
    ...base,
    state: 'closed',
    closedAtMs: startsAtMs + 4 * 60 * minute,
    signedIn: false,
    receiptJson,
  },
} satisfies Record<string, MemberPageView>;
