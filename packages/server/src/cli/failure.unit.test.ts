import { MessagingError } from '@doorbuster/messaging';
import { expect, it } from 'vitest';
import { catalogue, type ErrorCode, OperationalError } from '../errors.ts';
import { CliError, exitCodes, failureOf } from './failure.ts';

const codes = Object.keys(catalogue) as ErrorCode[];

it.each(codes)('%s has a remedy and a documented exit code that is no success', (code) => {
  const failure = failureOf(new OperationalError(code));
  expect(failure?.code).toBe(code);
  expect(failure?.remedy).not.toBe('');
  expect([1, 2, 3, 4, 5, 6]).toContain(failure?.exitCode);
});

it.each([
  ['CONFIG_INVALID', exitCodes.configuration],
  ['SECRETS_MISSING', exitCodes.configuration],
  ['PORT_BUSY', exitCodes.configuration],
  ['LEDGER_LOCKED', exitCodes.configuration],
  ['DEFINITION_INVALID', exitCodes.usage],
  ['LEDGER_HALTED', exitCodes.gateFailed],
  ['LEDGER_DAMAGED', exitCodes.gateFailed],
  ['BUS_MISSING', exitCodes.gateFailed],
  ['LEDGER_FULL', exitCodes.failed],
] as const)('%s exits with %i', (code, exitCode) => {
  expect(failureOf(new OperationalError(code))?.exitCode).toBe(exitCode);
});

it('keeps faults and the exit code of the command', () => {
  const faults = [{ pointer: '/a', message: 'is wrong' }];
  expect(failureOf(new CliError(exitCodes.partlyFailed, 'Half of it.', 'Again.', { faults }))).toEqual({
    error: 'Half of it.',
    code: 'CLI',
    remedy: 'Again.',
    faults,
    exitCode: 5,
  });
});

it('a bus that cannot be opened is a failure with a remedy; misuse of the toolkit stays a bug', () => {
  const damaged = new MessagingError('DB_MSG_ENGINE_UNSAFE', 'the file is malformed');
  expect(failureOf(damaged)).toMatchObject({ code: 'DB_MSG_ENGINE_UNSAFE', exitCode: 3 });
  expect(failureOf(damaged)?.remedy).toContain('bus.sqlite');
  expect(failureOf(new MessagingError('DB_MSG_UNKNOWN_CHANNEL', 'x'))).toBeNull();
});

it('leaves a bug a bug, with its stack', () => {
  expect(failureOf(new TypeError('x is not a function'))).toBeNull();
  expect(failureOf('a thrown text')).toBeNull();
});
