import { describeOptions } from '../../testing/option-cases.ts';
import { settingsOf } from './options.ts';

describeOptions((options) => settingsOf({ ...options, url: 'redis://localhost' }), {
  taken: [{ maxWaiting: 1 }, { connectTimeoutMs: 1, maxMessageBytes: 1 }],
  numbers: ['maxWaiting', 'connectTimeoutMs', 'maxMessageBytes'],
  refused: [
    ['maxWaiting', 0],
    ['maxWaiting', 1.5],
    ['connectTimeoutMs', 0],
    ['maxMessageBytes', 0],
  ],
});
