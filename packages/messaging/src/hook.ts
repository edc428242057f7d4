/**
 * What an application gives to be told by (its log, `onNotice`, `onLost`, a tracer of its own) is called in the middle of the toolkit's work: in the event of a socket,
 * between two settlements, before a campaign goes on. What it throws must not end that work, and a promise of it that rejects must not end the process.
 */
import { describeError } from './errors.ts';
import { isPromise } from './outcome.ts';

/** Never throws. `failed` hears what the hook threw or rejected with, and must not throw itself. */
export function callHook(hook: () => unknown, failed: (error: unknown) => void): void {
  try {
    const called = hook();
    // By a promise of Node's own: one of a library may tell in no time, or twice.
    if (isPromise(called)) void Promise.resolve(called).then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}

/** For a hook whose failure nobody else can be told of: the first one is a warning of the process. `hook` is what the application knows it by. */
export function warnOnce(hook: string): (error: unknown) => void {
  let isTold = false;
  return (error) => {
    if (isTold) return;
    isTold = true;
    process.emitWarning(`${hook} failed, which is passed over: ${describeError(error)}`, {
      type: 'DoorbusterWarning',
    });
  };
}

/** A hook that may be called anywhere: it never throws, and its first failure is a warning of the process. */
export function safeHook<Told>(name: string, hook: (told: Told) => void): (told: Told) => void {
  const failed = warnOnce(name);
  return (told) => callHook(() => hook(told), failed);
}
