import { callHook, warnOnce } from './hook.ts';

/**
 * Where the toolkit writes what a person may want to know. pino's loggers fit; the default is silence. One that throws, or whose promise rejects, is passed over: the first
 * failure is a warning of the process.
 */
export interface Log {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export const silentLog: Log = Object.freeze({
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
});

/** What an application gave, or silence, as a log that never throws: it is written to in places that nothing may fail in. */
export function safeLog(log: Log | undefined): Log {
  if (log === undefined || log === silentLog) return silentLog;
  const failed = warnOnce('a log');
  const writing =
    (level: keyof Log): Log[typeof level] =>
    (fields, message) =>
      callHook(() => log[level](fields, message), failed);
  return { debug: writing('debug'), info: writing('info'), warn: writing('warn'), error: writing('error') };
}
