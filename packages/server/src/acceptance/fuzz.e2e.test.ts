// Row 12: every operation of the OpenAPI document, from the document alone, over HTTP. `npm run -s fuzz` sends more, and from other seeds.
import { expect, it } from 'vitest';
import { type FuzzTarget, startFuzzTarget } from './testing/fuzz-target.ts';
import type { InstallationOptions } from './testing/installation.ts';
import { verified } from './testing/judge.ts';
import { documentOf, type FuzzResult, fuzz } from './testing/openapi-fuzz.ts';

// Always the same requests: a finding of another seed belongs to whoever runs the command, not to whoever runs the tests.
const plan = { seed: 12, perOperation: 40 };

async function fuzzed(
  options: InstallationOptions,
  look: (result: FuzzResult, target: FuzzTarget) => Promise<void> | void,
): Promise<void> {
  const target = await startFuzzTarget(options);
  try {
    await look(await fuzz(target, await documentOf(target.url), plan), target);
  } finally {
    await target.shop.stop();
  }
}

it('12: whatever is sent, the answer is documented in status, type and shape, no 5xx but 503 with Retry-After, and the ledger verifies', () =>
  fuzzed({}, async ({ faults, requests, operations, reached }, { shop }) => {
    expect(faults).toEqual([]);
    expect(operations).toBeGreaterThan(40);
    expect(requests).toBe(operations * plan.perOperation);
    // It gets past the doors: a fuzz that is only ever refused finds nothing behind them.
    expect(reached.length).toBeGreaterThan(operations * 0.7);
    expect(await verified(shop)).toEqual([]);
  }));

it('control: a handler that falls over an unknown campaign, and an answer with a field that is not documented, are found', () =>
  fuzzed({ defect: 'answers-as-not-documented' }, ({ faults }) => {
    const found = faults.join('\n');
    expect(found).toMatch(/\n {2}500 application\/problem\+json/);
    expect(found).toMatch(/not as documented: data must NOT have additional properties: 200/);
  }));
