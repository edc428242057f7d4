/**
 * What the module of `--channels` rejects with is no bug of ours: it is told in one sentence, as a failed import of it is. Node's own way of telling it would print the line of the module
 * that threw, and the address of a database with its password stands in such lines.
 */
import { CliFailure, type ExitCode, failureOf } from './failure.ts';
import { reasonOf } from './reason.ts';

/** `"decisions" of the module of --channels could not be opened`, and how that is told. */
export interface ModuleCall {
  readonly failed: string;
  readonly exitCode: ExitCode;
  readonly remedy: string;
}

/** What has its words already keeps them. */
export async function called<T>(call: ModuleCall, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw inCall(call, error);
  }
}

/** The same of what answers at once. */
export function calledNow<T>(call: ModuleCall, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw inCall(call, error);
  }
}

function inCall({ failed, exitCode, remedy }: ModuleCall, error: unknown): unknown {
  return failureOf(error) ? error : new CliFailure(exitCode, `${failed}: ${reasonOf(error)}`, remedy);
}
