/** What a team may set about the embedded engine. Everything has a default but the file. */
import { MessagingError } from '../../errors.ts';
import { COUNT, ENDLESS_MS, refuseBadNumbers } from '../../sound-numbers.ts';

export interface EmbeddedEngineOptions {
  /** The file; its folder is made if missing. */
  readonly path: string;
  /** How long a channel that nobody subscribed to keeps its messages, ms. Default 7 days. Infinity: for ever. */
  readonly keepUnsubscribedMs?: number;
  /** Largest encoded message, bytes of UTF-8. Default 1 MiB. */
  readonly maxMessageBytes?: number;
  /**
   * Several processes of this machine use the file at once: the first one hosts it, the others speak to it over a socket beside the file (mode
   * 0600), and when it ends another one takes over. All of them have to ask for it. Default: one process, the others are refused.
   */
  readonly share?: boolean;
}

export type EmbeddedSettings = Required<EmbeddedEngineOptions>;

export const KEEP_UNSUBSCRIBED_MS = 7 * 86_400_000;
export const MAX_MESSAGE_BYTES = 2 ** 20;

/** Throws DB_MSG_INVALID_OPTIONS with the first value that is out of its bounds, and for a `share` that is neither true nor false. */
export function settingsOf({
  path,
  keepUnsubscribedMs = KEEP_UNSUBSCRIBED_MS,
  maxMessageBytes = MAX_MESSAGE_BYTES,
  share = false,
}: EmbeddedEngineOptions): EmbeddedSettings {
  refuseBadNumbers(
    'the embedded engine',
    { keepUnsubscribedMs, maxMessageBytes },
    { keepUnsubscribedMs: ENDLESS_MS, maxMessageBytes: COUNT },
  );
  // The text 'false' would share.
  if (typeof share !== 'boolean')
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `the embedded engine: share is true or false, not ${JSON.stringify(share)}`,
    );
  return { path, keepUnsubscribedMs, maxMessageBytes, share };
}
