import { describe, expect, it } from 'vitest';
import { composeMessage, unknownPlaceholders } from './templates.ts';

const delivery = {
  deliveryId: 'spring.3.2',
  campaignId: 'spring',
  seq: 3,
  contact: { email: 'a@example.com' },
  definition: {
    title: { ko: '봄 이벤트', en: 'Spring' },
    prize: { ko: '커피' },
    startsAt: '2026-12-01T10:00:00+09:00',
    stock: { capacity: 1 },
    reward: { messengers: ['smtp'] },
  },
} as const satisfies Parameters<typeof composeMessage>[0];
const withMessage = (subject: string, body: string) => ({
  ...delivery,
  definition: {
    ...delivery.definition,
    reward: { messengers: ['smtp'], message: { subject: { en: subject }, body: { en: body } } },
  },
});

describe('composeMessage', () => {
  it('speaks Korean by default and leaves out what is not there', () => {
    const { subject, text, locale, messageId } = composeMessage(
      delivery,
      { code: 'C-1' },
      'https://shop.example/c/spring',
    );
    expect({ subject, locale, messageId }).toEqual({
      subject: '[봄 이벤트] 당첨을 축하합니다: 커피',
      locale: 'ko',
      messageId: 'spring.3.2@doorbuster',
    });
    expect(text).toContain('쿠폰 번호: C-1');
    expect(text).toContain('https://shop.example/c/spring');
    expect(text).not.toMatch(/PIN|\{/);
  });
  it('speaks English to members who do, with the other language where a text is missing', () => {
    const { subject, text } = composeMessage(
      { ...delivery, contact: { email: 'a@example.com', locale: 'en' } },
      { code: 'C-1', pin: '99', validUntil: '2027-01-31' },
      'https://x',
    );
    expect(subject).toBe('[Spring] You won: 커피');
    expect(text).toContain('PIN: 99');
    expect(text).toContain('Valid until: 2027-01-31');
  });
  it('fills in one pass: a code that looks like a placeholder stays a code', () => {
    const { text } = composeMessage(
      withMessage('s', 'Code {code} for {title}, {nonsense}'),
      { code: '{title}' },
      'https://x',
    );
    expect(text).toBe('Code {title} for 봄 이벤트, {nonsense}');
  });
  it('keeps a subject on one line, whatever the title holds', () => {
    const { subject } = composeMessage(
      withMessage('Hello\r\nBcc: evil@example.com {code}', 'b'),
      { code: 'A\nB' },
      'https://x',
    );
    expect(subject).toBe('Hello Bcc: evil@example.com A B');
  });
  it('adds no markup and changes none', () => {
    const { text } = composeMessage(withMessage('s', '<b>{code}</b>'), { code: '<script>' }, 'https://x');
    expect(text).toBe('<b><script></b>');
  });
});

it('unknownPlaceholders names what would stay as written', () => {
  expect(unknownPlaceholders('{code} {name} {url} {Code}')).toEqual(['name', 'Code']);
});
