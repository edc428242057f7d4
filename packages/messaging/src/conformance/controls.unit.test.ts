/** The controls of the controls: what would make a planted defect look caught without anybody having caught it. */
import { expect, it } from 'vitest';
import { registerControls } from './controls.ts';

it('a case that fails anyway, and one that passes in spite of it, are no control', async () => {
  const tests: [name: string, run: () => Promise<void>][] = [];
  const meta = {};
  const register = (name: string, run: (context: { task: { meta: object } }) => Promise<void>): unknown =>
    tests.push([name, () => run({ task: { meta } })]);
  const pass = async (): Promise<void> => {};
  const fail = (): Promise<void> => Promise.reject(new Error('the server is away\nat line 3'));
  registerControls(register, 'nothing', [
    { defect: 'a', caughtBy: 'one', healthy: fail, defective: fail },
    { defect: 'b', caughtBy: 'two', healthy: pass, defective: pass },
    { defect: 'c', caughtBy: 'three', healthy: pass, defective: fail },
  ]);
  const [failsAnyway, passes, good] = tests.map(([, run]) => run);
  await expect(failsAnyway?.()).rejects.toThrow('the case fails without the defect too: the server is away');
  await expect(passes?.()).rejects.toThrow('the case passed in spite of the defect');
  await good?.();
  expect(meta).toEqual({
    control: { of: 'nothing', defect: 'c', caughtBy: 'three', failure: 'the server is away' },
  });
  expect(tests.map(([name]) => name)).toContain('nothing: three: catches "c"');
});
