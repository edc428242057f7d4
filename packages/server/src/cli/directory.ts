/** The directories that commands make: one that cannot be made is a fault of what the caller named. */
import { makeDirectory } from '../make-directory.ts';
import { CliError, exitCodes } from './failure.ts';

/** `option`: what names it. Throws CliError: 2 for the target of a command, 3 for the data directory. */
export function makeOrRefuse(path: string, option: '--to' | '--data'): void {
  try {
    makeDirectory(path);
  } catch (cause) {
    throw new CliError(
      option === '--data' ? exitCodes.configuration : exitCodes.usage,
      `${path} cannot be made (${(cause as NodeJS.ErrnoException).code ?? 'error'}).`,
      `Name a directory on a local disk that can be written with ${option}.`,
      { cause },
    );
  }
}
