/** What was thrown, in text that may be shown: it comes from outside of us, and may repeat the address of a database or hold nothing at all. */
import { describeError } from '../errors.ts';

/** Everything before the last `@` of an address goes, as in `withoutSecret`. */
export function withoutAddressSecrets(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]*:\/\/)\S*@/gi, '$1');
}

/** Without the kind of error. Several at once, as of a name with several addresses, have no message of their own. */
export function reasonOf(error: unknown): string {
  const { message, code } = (error ?? {}) as { readonly message?: unknown; readonly code?: unknown };
  const given = [message, code].find((one) => typeof one === 'string' && one !== '');
  return withoutAddressSecrets(given === undefined ? describeError(error) : String(given));
}

/** Where it was thrown. Only the places: with source maps a stack begins with the line of the source, which may hold a password. */
export function placesOf(error: unknown): string {
  const stack = error instanceof Error ? String(error.stack) : '';
  return withoutAddressSecrets(
    stack
      .split('\n')
      .filter((line) => /^\s+at /.test(line))
      .join('\n'),
  );
}
