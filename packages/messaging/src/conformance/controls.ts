/**
 * Negative controls: what a planted defect has to make of a case. That a case fails under a defect says little when it might fail anyway (a server that is
 * away, a patience that is too short), so the same case runs without the defect first, in the same run and under the same patience, and has to pass. What was
 * planted, which case saw it and what that said go into the test's metadata: `npm run -s test:engines -- --defects` makes its list of them.
 */
export interface Control {
  readonly defect: string;
  /** Name of the case that has to see it. */
  readonly caughtBy: string;
  /** The case on what it is planted in, as it is. */
  readonly healthy: () => Promise<unknown>;
  /** The same case, with the defect. */
  readonly defective: () => Promise<unknown>;
}

/** What is written into a test's metadata. */
export interface ControlMeta {
  control?: {
    /** Engine, lock or store that the defect is planted in. */
    readonly of: string;
    readonly defect: string;
    readonly caughtBy: string;
    /** How the case failed; undefined while it has not. */
    readonly failure?: string;
  };
}

type Register = (
  name: string,
  run: (context: { readonly task: { readonly meta: object } }) => Promise<void>,
) => unknown;

/** Healthy runs by place and case: several defects share one. One that failed is not kept, so that a test that is tried again tries it again. */
const healthyRuns = new Map<string, Promise<unknown>>();

export function registerControls(it: Register, of: string, controls: readonly Control[]): void {
  for (const one of controls)
    it(`${of}: ${one.caughtBy}: catches "${one.defect}"`, async ({ task }) => {
      const { defect, caughtBy } = one;
      Object.assign(task.meta, { control: { of, defect, caughtBy } } satisfies ControlMeta);
      const failure = await failureOf(of, one);
      Object.assign(task.meta, { control: { of, defect, caughtBy, failure } } satisfies ControlMeta);
    });
}

/** What the case says of the defect. Rejects when it passes in spite of it, and when it fails without. */
async function failureOf(of: string, { caughtBy, healthy, defective }: Control): Promise<string> {
  const place = `${of}: ${caughtBy}`;
  const run = healthyRuns.get(place) ?? healthy();
  healthyRuns.set(place, run);
  await run.catch((cause: unknown) => {
    healthyRuns.delete(place);
    throw new Error(`the case fails without the defect too: ${wordsOf(cause)}`, { cause });
  });
  let failure: string | undefined;
  try {
    await defective();
  } catch (error) {
    failure = wordsOf(error);
  }
  if (failure === undefined) throw new Error('the case passed in spite of the defect');
  return failure;
}

function wordsOf(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error);
  return words.split('\n', 1)[0]?.slice(0, 200) || 'failed without a word';
}

/** The one whose name has this part; a part that none or several have is a mistake in the table of defects. */
export function caseNamed<T extends { readonly name: string }>(cases: readonly T[], part: string): T {
  const [found, ...others] = cases.filter(({ name }) => name.includes(part));
  if (!found || others.length > 0)
    throw new Error(`${others.length + (found ? 1 : 0)} cases have "${part}" in their name`);
  return found;
}

/** Runs with a fixture and destroys it, whatever came of it. What destroying says of a defective one is no matter. */
export async function onFixture<F extends { readonly destroy: () => Promise<unknown> }>(
  create: () => Promise<F>,
  run: (fixture: F) => Promise<unknown>,
): Promise<void> {
  const fixture = await create();
  try {
    await run(fixture);
  } finally {
    await fixture.destroy().catch(() => {});
  }
}
