/** How `doorbuster-bus` fails: what, why, what to do next, and a documented exit code. Everything else is a bug, and is told as one. */
import { describeError, MessagingError, type MessagingErrorCode } from '../errors.ts';
import { withoutAddressSecrets } from './reason.ts';

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  configuration: 3,
  unreachable: 4,
  partlyFailed: 5,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export class CliFailure extends Error {
  override readonly name = 'CliFailure';
  readonly exitCode: ExitCode;
  readonly remedy: string;
  readonly code: string;

  constructor(exitCode: ExitCode, message: string, remedy: string, code = 'CLI') {
    super(message);
    this.exitCode = exitCode;
    this.remedy = remedy;
    this.code = code;
  }
}

export function usage(message: string, remedy: string): CliFailure {
  return new CliFailure(exitCodes.usage, message, remedy);
}

type Advice = readonly [exitCode: ExitCode, remedy: string];

const ADVICE: Partial<Record<MessagingErrorCode, Advice>> = {
  DB_MSG_ENGINE_LOCKED: [
    exitCodes.configuration,
    'An embedded file belongs to one process. Stop the one that holds it and run this again, or let that process answer (bus.view() and bus.deadLetters are the same by code). Where the application shares its file, end the URL with ?share=true.',
  ],
  DB_MSG_ENGINE_UNSAFE: [exitCodes.configuration, 'Look at the disk and at the file that is named.'],
  DB_MSG_PEER_MISSING: [exitCodes.configuration, 'Install it where this command is installed.'],
  DB_MSG_ENGINE_UNREACHABLE: [
    exitCodes.unreachable,
    'Check the URL and that the server runs; then run the same command again.',
  ],
  DB_MSG_ENGINE_REFUSED: [
    exitCodes.configuration,
    'Look at the user, the password and the virtual host or database of the URL.',
  ],
  DB_MSG_ENGINE_BLOCKED: [exitCodes.unreachable, 'The broker takes nothing for now; try again later.'],
  DB_MSG_ENGINE_FULL: [exitCodes.unreachable, 'Make room on the server, then run the same command again.'],
  DB_MSG_DISK_FULL: [exitCodes.failed, 'Make room on the disk, then run the same command again.'],
  DB_MSG_UNSUPPORTED_CAPABILITY: [
    exitCodes.failed,
    'Look at what the engine can do: doorbuster-bus inspect --json shows its capabilities.',
  ],
  DB_MSG_SUBSCRIPTION_BUSY: [exitCodes.failed, 'Stop every consumer of the subscription first.'],
  DB_MSG_UNKNOWN_CHANNEL: [
    exitCodes.usage,
    'doorbuster-bus inspect shows the channels; --channels names the module that defines them.',
  ],
  DB_MSG_INVALID_DATA: [exitCodes.usage, 'Mend the data; nothing was published.'],
  DB_MSG_INVALID_OPTIONS: [exitCodes.usage, 'Mend the option that is named; nothing was done.'],
};

export interface Failure {
  readonly error: string;
  readonly code: string;
  readonly remedy: string;
  readonly exitCode: ExitCode;
}

/** Undefined for a bug. */
export function failureOf(error: unknown): Failure | undefined {
  if (error instanceof CliFailure) {
    const { message, code, remedy, exitCode } = error;
    return { error: message, code, remedy, exitCode };
  }
  if (!(error instanceof MessagingError)) return undefined;
  const [exitCode, remedy] = ADVICE[error.code] ?? [
    exitCodes.failed,
    error.retryable ? 'Run the same command again.' : 'The message says why; nothing more was done.',
  ];
  return { error: withCause(error), code: error.code, remedy, exitCode };
}

/** Of what has no words of its own; where it was thrown is told beside it. */
export function bugOf(error: unknown): Failure {
  return {
    error: `unexpected: ${withoutAddressSecrets(describeError(error))}`,
    code: 'UNEXPECTED',
    remedy:
      'This is a bug, of this command or of what the module of --channels exports. The lines with "at" on stderr say where: mend it where they name a file of yours first, else report it with them.',
    exitCode: exitCodes.failed,
  };
}

/** Why, in the words of whoever refused, where the message does not have them already. */
function withCause({ message, cause }: MessagingError): string {
  const why = cause instanceof Error ? cause.message.split('\n', 1)[0] : undefined;
  return why === undefined || why === '' || message.includes(why) ? message : `${message}: ${why}`;
}
