/**
 * How a rendered page is sent: status and headers. The policy lets nothing run that this package did not write: the style sheet by
 * its hash, the script by its own address, connections to the same origin, no frame around the page (a frame could steal the press
 * of the one button).
 */
import type { Locale, MemberPageView } from './page-view.ts';
import { fallbackScriptHash } from './assets.ts';
import { styleHash } from './style.ts';

const policyOf = (script: string): string =>
  [
    "default-src 'none'",
    `script-src ${script}`,
    `style-src ${styleHash}`,
    "connect-src 'self'",
    'img-src data:',
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
const policy = policyOf("'self'");
const fallbackPolicy = policyOf(fallbackScriptHash);

/** 404, 503 (busy and fallback), 422 (answers with faults), 403 (not eligible), else 200. */
export function memberPageStatus(view: MemberPageView): number {
  switch (view.state) {
    case 'not-found':
      return 404;
    case 'busy':
    case 'fallback':
      return 503;
    case 'not-eligible':
      return 403;
    default:
      return Object.keys(view.form?.faults ?? {}).length > 0 ? 422 : 200;
  }
}

/** Lower-case names. The page may show one member's entry, so no shared cache keeps it, and a voucher is not written to a disk. */
export function memberPageHeaders(view: MemberPageView, locale: Locale): Readonly<Record<string, string>> {
  const personal = 'entry' in view || ('form' in view && view.form !== undefined);
  return {
    'content-type': 'text/html; charset=utf-8',
    'content-language': locale,
    'content-security-policy': view.state === 'fallback' ? fallbackPolicy : policy,
    'cache-control': personal ? 'private, no-store' : 'private, no-cache',
    vary: 'Cookie, Accept-Language',
    'referrer-policy': 'same-origin',
    'x-content-type-options': 'nosniff',
    'cross-origin-opener-policy': 'same-origin',
    'permissions-policy': 'camera=(), geolocation=(), microphone=()',
    ...('retryAfterSeconds' in view ? { 'retry-after': String(view.retryAfterSeconds) } : {}),
  };
}
