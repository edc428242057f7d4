/**
 * Gives the cases of the suite to a test runner whose `it` hands its function a context with `task.meta`, as vitest does. A case that does not
 * apply is registered too: it carries its reason in the metadata, so that whoever counts can tell it from one that passed.
 */
import type { Capabilities } from '../engine.ts';
import type { EngineCase } from './suite.ts';

/** What is written into a test's metadata when its case does not apply. */
export interface CaseMeta {
  notApplicable?: string;
  /** Of the engine that the case was registered for. */
  capabilities?: Capabilities;
}

type Register = (
  name: string,
  run: (context: { readonly task: { readonly meta: object } }) => Promise<void>,
) => unknown;

export function registerCases(it: Register, cases: readonly EngineCase[]): void {
  for (const { name, notApplicable, capabilities, run } of cases)
    it(name, async ({ task }) => {
      Object.assign(task.meta, { capabilities } satisfies CaseMeta);
      if (notApplicable === undefined) return run();
      Object.assign(task.meta, { notApplicable } satisfies CaseMeta);
    });
}
