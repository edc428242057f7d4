/** Entry of the command line: runs one command, prints one failure, sets the exit code. */
import { exitCodes, failureOf, faultText } from './failure.ts';
import { createProgram, isUsageError } from './program.ts';

/** A reader that went away (`| head`) is no failure. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.ok);
  throw error;
});

const program = createProgram(process.env);
try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (isUsageError(error)) process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else fail(error);
}

function fail(error: unknown): void {
  const failure = failureOf(error);
  if (!failure) throw error;
  process.exitCode = failure.exitCode;
  if (program.opts<{ json?: boolean }>().json === true) {
    process.stdout.write(`${JSON.stringify(failure)}\n`);
    return;
  }
  process.stderr.write(`${failure.error}\n`);
  for (const fault of failure.faults)
    if (!failure.error.includes(fault.message)) process.stderr.write(`  ${faultText(fault)}\n`);
  process.stderr.write(`${failure.remedy}\n`);
}
