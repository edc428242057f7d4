/**
 * Negative controls of an engine with the defects that fit every engine (`conformance/planted-defects.ts`): its own test has a table of which case sees which, and this makes controls
 * of it. What breaks with a connection is planted where the engine's waits or its connections come from, so those controls take a fixture that has it.
 */
import { caseNamed, type Control, onFixture } from '../conformance/controls.ts';
import type { EngineFixture } from '../conformance/fixture.ts';
import { plantedDefects, type PlantedDefect, whenLeaving } from '../conformance/planted-defects.ts';
import { type ConformanceCase, conformanceCases } from '../conformance/suite.ts';
import { pause, systemClock } from '../clock.ts';
import type { Engine, EngineConnection, EngineContext } from '../engine.ts';
import { withDefectEverywhere } from './defective-child.ts';
import { stallingClock } from './stalling-clock.ts';

/** Part of the name of the case, or of each of the cases, that has to see the defect. */
export type SeenBy = Readonly<Partial<Record<PlantedDefect, string | readonly string[]>>>;

export interface PlantedPair {
  readonly defect: PlantedDefect;
  readonly seenBy: ConformanceCase;
}

/** Every defect of the table with every case that has to see it. */
export function pairsOf(table: SeenBy): readonly PlantedPair[] {
  return (Object.keys(plantedDefects) as PlantedDefect[]).flatMap((defect) =>
    [table[defect] ?? []].flat().map((part) => ({ defect, seenBy: caseNamed(conformanceCases, part) })),
  );
}

/** With the defects in this process and in those that a case starts. */
export function plantedControls<F extends EngineFixture>(
  table: SeenBy,
  create: () => Promise<F>,
): readonly Control[] {
  return pairsOf(table).map(({ defect, seenBy: { name, run } }) => ({
    defect,
    caughtBy: name,
    healthy: () => onFixture(create, run),
    defective: () => onFixture(create, (fixture) => run(withDefectEverywhere(defect, fixture))),
  }));
}

/** Of the case in which connections break: nothing that breaks, and an engine that does not come back. */
export function breakingControls<F extends EngineFixture>(
  create: () => Promise<F>,
  neverBack: (fixture: F) => EngineFixture,
): readonly Control[] {
  const { name, run } = caseNamed(conformanceCases, 'connections that break under load');
  const control = (defect: string, change: (fixture: F) => EngineFixture): Control => ({
    defect,
    caughtBy: name,
    healthy: () => onFixture(create, run),
    defective: () => onFixture(create, (fixture) => run(change(fixture))),
  });
  return [
    control('no connection breaks', (fixture) => ({ ...fixture, breakConnections: async () => 0 })),
    control('never comes back', neverBack),
  ];
}

/** For `breakingControls`: from the first break on the engine's waits never end, and what brings it back is behind one. They end when the case leaves. */
export function neverTryingAgain(fixture: EngineFixture): EngineFixture {
  const { clock, stall, letGo } = stallingClock();
  const open = (): Engine => {
    const real = fixture.open();
    const stalling: Engine = { ...real, connect: (context) => real.connect({ ...context, clock }) };
    return whenLeaving(stalling, letGo);
  };
  const breakConnections = async (): Promise<number> => {
    stall();
    return (await fixture.breakConnections?.()) ?? 0;
  };
  return { ...fixture, open, breakConnections };
}

/**
 * For the case that kills the server: it confirms what it has in memory only, which the kill takes away. The early confirm of `plantedDefects` is caught by chance there, for what it has
 * still to send may be in the client, which outlives the server.
 */
export function confirmingFromMemory(fixture: EngineFixture): EngineFixture {
  let life = 0;
  async function connect(context: EngineContext): Promise<EngineConnection> {
    const real = await fixture.open().connect(context);
    const stored = real.publish.bind(real);
    const publish: EngineConnection['publish'] = async (batch) => {
      const published = life;
      const store = async (): Promise<unknown> => life === published && stored(batch);
      void pause(systemClock, 1)
        .then(store)
        .catch(() => {});
      const { confirm } = real.capabilities;
      return batch.map(({ message }) => ({ id: message.id, durability: confirm, confirmedAt: 0 }));
    };
    return Object.assign(real, { publish });
  }
  const restartServer = async (): Promise<void> => {
    life += 1;
    await fixture.restartServer?.();
  };
  return { ...fixture, open: () => ({ name: 'forgetful', connect }), restartServer };
}
