import type { FastifyReply, FastifyRequest } from 'fastify';
import { expect, test } from 'vitest';
import { OperationalError } from '../errors.ts';
import { systemRandomness } from '../randomness.ts';
import { sendProblem } from './problem.ts';

function refusalsOn(server: object, count: number, code: 'LEDGER_FULL' | 'ADMISSION_FULL'): number[] {
  const told: number[] = [];
  const log = {
    warn: ({ refusedSoFar }: { refusedSoFar: number }) => told.push(refusedSoFar),
    error: () => told.push(-1),
  };
  const reply = {
    header: () => reply,
    headers: () => reply,
    code: () => reply,
    type: () => reply,
    serializer: () => reply,
    send: () => reply,
  };
  const request = { id: 'r', log, server: { server } } as unknown as FastifyRequest;
  for (let i = 0; i < count; i++)
    sendProblem(reply as unknown as FastifyReply, request, new OperationalError(code), systemRandomness());
  return told;
}

test('a full disk is logged now and then, not with every refused request', () => {
  expect(refusalsOn({}, 2_500, 'LEDGER_FULL')).toEqual([1, 1001, 2001]);
});

test('shedding is counted elsewhere and never logged', () => {
  expect(refusalsOn({}, 10, 'ADMISSION_FULL')).toEqual([]);
});
