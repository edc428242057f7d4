import { NextLook } from '../consuming.ts';
import { type Plant, replacing } from '../../testing/replacing.ts';

/** What should rest for 200 ms looks again at once. */
export const hastyLook: Plant = replacing(
  NextLook.prototype,
  'plan',
  (plan) =>
    function (this: NextLook, ms) {
      plan.call(this, ms === 200 ? 0 : ms);
    },
);
