/**
 * The words of a voucher message: the campaign's own (`reward.message`) or the defaults below, in the member's language.
 *
 * Plain text only, so nothing in a title or a code can become markup. Placeholders are filled in one pass, so that a value which looks like
 * a placeholder stays a value. An unknown placeholder stays as written; the pre-flight warns of it. No Korean particle follows a
 * placeholder in the defaults, because the right one depends on the value.
 */
import { type Language, textIn } from '@doorbuster/core';
import type { ClaimedDelivery, Contact, Voucher } from '../ledger.ts';

export const placeholders = ['title', 'prize', 'code', 'pin', 'url', 'validUntil', 'seq'] as const;
type Placeholder = (typeof placeholders)[number];

const defaults: Readonly<Record<Language, { readonly subject: string; readonly lines: readonly string[] }>> =
  {
    ko: {
      subject: '[{title}] 당첨을 축하합니다: {prize}',
      lines: [
        '축하합니다! 선착순 {seq}번째로 당첨되었습니다.',
        '',
        '이벤트: {title}',
        '경품: {prize}',
        '쿠폰 번호: {code}',
        'PIN: {pin}',
        '유효 기간: {validUntil}',
        '확인 및 사용: {url}',
        '',
        '쿠폰 번호는 다른 사람에게 알려 주지 마세요.',
      ],
    },
    en: {
      subject: '[{title}] You won: {prize}',
      lines: [
        'Congratulations! Your entry was number {seq}.',
        '',
        'Campaign: {title}',
        'Prize: {prize}',
        'Voucher code: {code}',
        'PIN: {pin}',
        'Valid until: {validUntil}',
        'See and use it: {url}',
        '',
        'Keep the code to yourself.',
      ],
    },
  };

export interface ComposedMessage {
  readonly messageId: string;
  readonly deliveryId: string;
  readonly campaignId: string;
  readonly contact: Contact;
  readonly subject: string;
  readonly text: string;
  readonly locale: Language;
}

type Source = Pick<ClaimedDelivery, 'deliveryId' | 'campaignId' | 'seq' | 'contact' | 'definition'>;

/** `pageUrl`: the result page, used where the voucher has no address of its own. */
export function composeMessage(delivery: Source, voucher: Voucher, pageUrl: string): ComposedMessage {
  const { definition, contact } = delivery;
  const locale = contact?.locale ?? 'ko';
  const values: Record<Placeholder, string> = {
    title: textIn(definition.title, locale),
    prize: textIn(definition.prize, locale),
    code: voucher.code,
    pin: voucher.pin ?? '',
    url: voucher.url ?? pageUrl,
    validUntil: voucher.validUntil ?? '',
    seq: String(delivery.seq),
  };
  const { message } = definition.reward;
  const subject = fill(message ? textIn(message.subject, locale) : defaults[locale].subject, values);
  const text = message ? fill(textIn(message.body, locale), values) : defaultBody(locale, values);
  return {
    messageId: `${delivery.deliveryId}@doorbuster`,
    deliveryId: delivery.deliveryId,
    campaignId: delivery.campaignId,
    contact: contact ?? {},
    subject: oneLine(subject),
    text,
    locale,
  };
}

/** Placeholders in a template that do not exist. */
export function unknownPlaceholders(template: string): readonly string[] {
  return [...template.matchAll(/\{(\w{1,40})\}/g)]
    .map(([, name]) => name!)
    .filter((name) => !isPlaceholder(name));
}

/** A default line whose value is missing is left out whole. */
function defaultBody(locale: Language, values: Record<Placeholder, string>): string {
  return defaults[locale].lines
    .filter(
      (line) =>
        ![...line.matchAll(/\{(\w+)\}/g)].some(([, name]) => isPlaceholder(name!) && values[name] === ''),
    )
    .map((line) => fill(line, values))
    .join('\n');
}

function fill(template: string, values: Record<Placeholder, string>): string {
  return template.replaceAll(/\{(\w{1,40})\}/g, (written, name: string) =>
    isPlaceholder(name) ? values[name] : written,
  );
}

function isPlaceholder(name: string): name is Placeholder {
  return (placeholders as readonly string[]).includes(name);
}

/** A subject is one header line: line breaks and other control characters would start another. */
function oneLine(text: string): string {
  return text
    .replaceAll(/[\u0000-\u001f\u007f\u2028\u2029]+/g, ' ')
    .trim()
    .slice(0, 250);
}
