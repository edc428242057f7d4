/** What a team may set about the embedded engine. Everything has a default but the file. */
export interface EmbeddedEngineOptions {
  /** The file; its folder is made if missing. */
  readonly path: string;
  /** How long a channel that nobody subscribed to keeps its messages, ms. Default 7 days. */
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

export function settingsOf({
  path,
  keepUnsubscribedMs = KEEP_UNSUBSCRIBED_MS,
  maxMessageBytes = MAX_MESSAGE_BYTES,
  share = false,
}: EmbeddedEngineOptions): EmbeddedSettings {
  return { path, keepUnsubscribedMs, maxMessageBytes, share };
}
