import { describeOptions } from '../../testing/option-cases.ts';
import { settingsOf } from './options.ts';

describeOptions((options) => settingsOf({ ...options, path: 'bus.db' }), {
  taken: [
    { share: true, keepUnsubscribedMs: 0 },
    { keepUnsubscribedMs: Number.POSITIVE_INFINITY, maxMessageBytes: 1 },
  ],
  numbers: ['keepUnsubscribedMs', 'maxMessageBytes'],
  refused: [
    ['maxMessageBytes', 0],
    ['maxMessageBytes', 1.5],
    ['share', 'false'],
    ['share', 'true'],
    ['share', 1],
    ['share', null],
  ],
});
