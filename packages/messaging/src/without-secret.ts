/** Addresses as they may be shown: in messages, on screens and in documents. One way for all of them, so that no place is cut less than another. */

/**
 * The address without what opens it. Everything before the last `@` goes, hosts of a list too: a password may hold any of the characters that part
 * them.
 */
export function withoutSecret(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:(?:\/\/)?).*@/is, '$1');
}
