/** Parsers and checks that commands share. */
import { InvalidArgumentError } from 'commander';
import type { Context } from './context.ts';
import { CliError, exitCodes } from './failure.ts';

export function whole(text: string): number {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError('must be a whole number.');
  return value;
}

export function positive(text: string): number {
  const value = whole(text);
  if (value < 1) throw new InvalidArgumentError('must be 1 or more.');
  return value;
}

/** RFC 3339 with its offset; ms since the epoch. */
export function instant(text: string): number {
  const shaped = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/.test(text);
  const ms = shaped ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new InvalidArgumentError('must be a time like 2026-12-01T10:00:00+09:00.');
  return ms;
}

/** The same, kept as it was written. */
export function instantText(text: string): string {
  instant(text);
  return text;
}

/** The address of a POST that only checks. */
export function checked(path: string, options: { readonly dryRun?: unknown }): string {
  return options.dryRun ? `${path}${path.includes('?') ? '&' : '?'}dryRun=true` : path;
}

/** What is said of it: done, or that it could be. */
export function outcome(options: { readonly dryRun?: unknown }, done: string): string {
  return options.dryRun ? `would be ${done}; nothing was changed` : done;
}

/** The irreversible needs the name typed again: by --confirm, or asked for on a terminal. */
export async function confirmIrreversible(
  context: Context,
  name: string,
  given: unknown,
  effect: string,
): Promise<void> {
  const typed = given ?? (await context.terminal.ask(`${effect}\nType ${name} to go on: `));
  if (typed !== name)
    throw new CliError(exitCodes.usage, `Not confirmed. ${effect}`, `Give --confirm=${name}.`);
}
