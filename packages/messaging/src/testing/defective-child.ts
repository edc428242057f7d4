/** What a child process of the kill cases opens when a defect is planted: what another module opens, with the defect. The argument is a `DefectiveChild` as JSON. */
import { plant, type PlantedDefect } from '../conformance/planted-defects.ts';
import type { EngineFixture } from '../conformance/fixture.ts';
import type { Engine } from '../engine.ts';

interface DefectiveChild {
  readonly module: string;
  readonly argument: string;
  readonly defect: PlantedDefect;
}

/** The same fixture, with the defect in this process and in those that its cases start. */
export function withDefectEverywhere(defect: PlantedDefect, fixture: EngineFixture): EngineFixture {
  const open = (): Engine => plant(defect, fixture.open());
  if (!fixture.child) return { ...fixture, open };
  const { module, argument } = fixture.child;
  const inChild: DefectiveChild = { module: module.href, argument, defect };
  return {
    ...fixture,
    open,
    child: { module: new URL(import.meta.url), argument: JSON.stringify(inChild) },
  };
}

export function openEngine(text: string): Engine {
  const { module, argument, defect } = JSON.parse(text) as DefectiveChild;
  return {
    name: 'defective',
    async connect(context) {
      const real = (await import(module)) as { openEngine: (argument: string) => Engine };
      return plant(defect, real.openEngine(argument)).connect(context);
    },
  };
}
