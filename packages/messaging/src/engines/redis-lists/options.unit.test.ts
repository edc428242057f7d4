import { describeOptions } from '../../testing/option-cases.ts';
import { settingsOf } from './options.ts';

describeOptions((options) => settingsOf({ ...options, url: 'redis://localhost' }), {
  taken: [{ foreign: 'wrap' }, { foreign: 'refuse', connectTimeoutMs: 1 }],
  numbers: ['connectTimeoutMs', 'maxMessageBytes'],
  refused: [
    ['connectTimeoutMs', 0],
    ['maxMessageBytes', 0],
    ['foreign', 'wrapp'],
    ['foreign', 'toString'],
    ['foreign', true],
    ['foreign', null],
  ],
});
