/** What exit codes mean, in general and of the commands that are alike: help and docs/messaging/cli.md say it of each command. */
import type { ExitCode } from './failure.ts';

/** Of one command; a code that it never ends with is left out. */
export type Exits = Readonly<Partial<Record<ExitCode, string>>>;

/** Of every command. */
export const exitMeanings: Readonly<Record<ExitCode, string>> = {
  0: 'It did what was asked. --help too.',
  1: 'It did not: the message says what, why and what to do next.',
  2: 'Wrong command line, or a file, channel, dead letter or parked row that is not there, or data that does not fit. Nothing was done.',
  3: 'No engine or no database was named, its client is not installed, the server refuses the user or the password, another process holds the file, a database of reconcile, decisions or outbox cannot be opened or lacks its tables, or Node is older than 24.',
  4: 'The server does not answer or takes nothing for now.',
  5: 'Stopped by Ctrl-C with work left; the same command goes on from there.',
};

const failed = exitMeanings[1];
export const stoppedEarly: Exits = { 5: exitMeanings[5] };

export const onEngine: Exits = {
  1: failed,
  3: 'No engine was named, its client is not installed, the server refuses the user or the password, or another process holds the file.',
  4: exitMeanings[4],
};

/** Of what notes a decision in the log of the module. */
export const onDecision: Exits = {
  ...onEngine,
  3: 'No engine was named, its client is not installed, the server refuses the user or the password, another process holds the file, or the database of "decisions" cannot be opened or lacks its table.',
};

export const onStore: Exits = {
  1: failed,
  3: 'No database was named, its client is not installed, or it cannot be opened or has no outbox.',
  4: 'The database does not answer for now.',
};

export const afterDecision = 'All that was meant is decided; with --dry-run, it was counted.';
