import { describeOptions } from '../../testing/option-cases.ts';
import { settingsOf } from './options.ts';

describeOptions((options) => settingsOf({ ...options, url: 'redis://localhost' }, {}), {
  taken: [
    { shards: 0, strangerIdleMs: 0 },
    { shards: 256, keepUnsubscribedMs: 0 },
  ],
  numbers: ['keepUnsubscribedMs', 'strangerIdleMs', 'connectTimeoutMs', 'maxMessageBytes', 'shards'],
  refused: [
    ['shards', 257],
    ['shards', 1.5],
    ['connectTimeoutMs', 0],
    ['maxMessageBytes', 0],
    ['keepUnsubscribedMs', Number.POSITIVE_INFINITY],
  ],
});
