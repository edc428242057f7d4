/**
 * The conformance suite: what every engine of this toolkit has to show, for whoever writes one. It needs no test runner: `testEngine`
 * returns cases to run or to register. What an engine cannot do is a case too, with the reason written out.
 *
 *   const cases = testEngine('my engine', capabilities, createFixture);
 *   registerCases(it, cases);
 */
import type { Capabilities } from '../engine.ts';
import { capabilityCases } from './capability-cases.ts';
import { deliveryCases } from './delivery-cases.ts';
import { failureCases } from './failure-cases.ts';
import { type EngineFixture, type FixtureTraits, traitsOf } from './fixture.ts';
import { forgetCases } from './forget-cases.ts';
import { groupCases } from './group-cases.ts';
import { killCases } from './kill-cases.ts';
import { messageCases } from './message-cases.ts';
import { redriveCases } from './redrive-cases.ts';
import { replayCases } from './replay-cases.ts';
import { routingCases } from './routing-cases.ts';
import { strangerCases } from './stranger-cases.ts';
import { viewCases } from './view-cases.ts';

export type { EngineFixture, FixtureTraits } from './fixture.ts';
export { type CaseMeta, registerCases } from './register.ts';
export { createManualClock, type ManualClock } from './manual-clock.ts';
export { type Control, type ControlMeta, registerControls } from './controls.ts';

/** A case as it is written; `unless` gives the reason why it does not apply to an engine. */
export interface ConformanceCase {
  readonly name: string;
  readonly unless?: (capabilities: Capabilities, fixture: FixtureTraits) => string | undefined;
  readonly run: (fixture: EngineFixture) => Promise<void>;
}

/** A case bound to one engine. */
export interface EngineCase {
  readonly name: string;
  /** Why it is not run: the engine states that it cannot do this. */
  readonly notApplicable: string | undefined;
  /** What the engine states when connected. */
  readonly capabilities: Capabilities;
  /** Passes or throws; makes a store of its own and destroys it. */
  readonly run: () => Promise<void>;
}

export const conformanceCases: readonly ConformanceCase[] = [
  ...deliveryCases,
  ...failureCases,
  ...capabilityCases,
  ...messageCases,
  ...strangerCases,
  ...routingCases,
  ...replayCases,
  ...redriveCases,
  ...groupCases,
  ...forgetCases,
  ...viewCases,
  ...killCases,
];

/** `create` makes a fresh, empty store each time; `capabilities` are those its engine states when connected. */
export function testEngine(
  name: string,
  capabilities: Capabilities,
  create: () => Promise<EngineFixture>,
  traits: FixtureTraits = {},
): readonly EngineCase[] {
  return conformanceCases.map((one) => ({
    name: `${name}: ${one.name}`,
    capabilities,
    notApplicable: one.unless?.(capabilities, traits),
    async run() {
      const fixture = await create();
      try {
        await one.run(fixture);
      } finally {
        await fixture.destroy();
      }
    },
  }));
}

/** Connects once, to learn what the engine states. */
export async function capabilitiesOf(
  create: () => Promise<EngineFixture>,
): Promise<{ readonly capabilities: Capabilities; readonly traits: FixtureTraits }> {
  const { systemClock } = await import('../clock.ts');
  const fixture = await create();
  try {
    const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
    const { capabilities } = connection;
    await connection.close();
    return { capabilities, traits: traitsOf(fixture) };
  } finally {
    await fixture.destroy();
  }
}
