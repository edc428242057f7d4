/** What a caller may say of the engine on lists, with defaults and checks. */
import { MessagingError } from '../../errors.ts';
import { redisDefaults, type RedisServerOptions, refuseBadPrefix } from '../../redis/server.ts';
import { COUNT, refuseBadNumbers, SPAN_MS } from '../../sound-numbers.ts';
import { withDefaults } from '../../with-defaults.ts';

export interface RedisListsEngineOptions extends RedisServerOptions {
  /** Of the keys that the toolkit adds beside the lists. Default `doorbuster`. */
  readonly prefix?: string;
  /** The key of the list of a channel, where a team has one already. Default `<prefix>:list:<channel>`. */
  readonly lists?: Readonly<Record<string, string>>;
  /**
   * What becomes of JSON that is no CloudEvent: `refuse` makes it a dead letter that says so, `wrap` makes it the data of a message with the id
   * `<list>/<number of its first hand-out>`. Default `refuse`. What is no JSON is always a dead letter.
   */
  readonly foreign?: 'refuse' | 'wrap';
}

const DEFAULTS = { ...redisDefaults, lists: {}, foreign: 'refuse' } as const;

export type Settings = Required<RedisListsEngineOptions>;

const NUMBERS = { connectTimeoutMs: SPAN_MS, answerTimeoutMs: SPAN_MS, maxMessageBytes: COUNT } as const;
const FOREIGN: readonly unknown[] = ['refuse', 'wrap'] satisfies Settings['foreign'][];

/** Throws DB_MSG_INVALID_OPTIONS when the prefix could not be told from the rest of a key, a number is out of its bounds or `foreign` is neither word. */
export function settingsOf(options: RedisListsEngineOptions): Settings {
  refuseBadPrefix(options.prefix ?? DEFAULTS.prefix);
  const settings = withDefaults(options, DEFAULTS);
  refuseBadNumbers('the engine on Redis lists', settings, NUMBERS);
  if (!FOREIGN.includes(settings.foreign))
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `the engine on Redis lists: foreign is one of ${FOREIGN.join(', ')}, not ${JSON.stringify(settings.foreign)}`,
    );
  return settings;
}
