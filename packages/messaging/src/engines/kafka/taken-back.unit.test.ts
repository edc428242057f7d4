import { describe, expect, it } from 'vitest';
import { TakenBack } from './taken-back.ts';

describe('letters that were taken back', () => {
  it('the first copy of a letter is taken, a second is not, a correction is', () => {
    const taken = new TakenBack();
    expect(taken.isFirst('letter-1', 'message-1')).toBe(true);
    expect(taken.isFirst('letter-1', 'message-1')).toBe(false);
    expect(taken.isFirst('letter-1', 'correction')).toBe(true);
    expect(taken.isFirst('letter-2', 'message-1')).toBe(true);
    expect(taken.isFirst('letter-3')).toBe(true);
    expect(taken.isFirst('letter-3')).toBe(false);
  });

  it('knows the newest ten thousand', () => {
    const taken = new TakenBack();
    for (let n = 0; n <= 10_000; n += 1) expect(taken.isFirst(`letter-${n}`)).toBe(true);
    expect(taken.isFirst('letter-1')).toBe(false);
    expect(taken.isFirst('letter-0')).toBe(true);
  });
});
