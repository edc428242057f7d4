// The list of planted defects, made by a run of what plants them: each by name, with the case that has to catch it and what that said. A file that hands
// its defects to `registerControls` of the conformance suite is in it by itself. A run of everything of an engine has those of that engine.

import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ControlMeta } from '@doorbuster/messaging/conformance';
import type { TestCase, TestModule } from 'vitest/node';
import { root } from '../check.ts';
import { engineSuites, nameOf } from './suites.ts';

export interface PlantedDefect {
  /** Engine, lock or store that it is planted in. */
  readonly of: string;
  readonly defect: string;
  readonly caughtBy: string;
  readonly caught: boolean;
  /** What the case said of it, or why it was not caught. */
  readonly says: string;
}

export interface DefectList {
  readonly planted: number;
  readonly caught: number;
  /** By engine; what is planted in a lock or a store is in the list only. */
  readonly engines: Readonly<Record<string, { readonly planted: number; readonly caught: number }>>;
  readonly defects: readonly PlantedDefect[];
}

/** Those of one engine, as they are recorded: what a case said of them may name a machine's paths and is left out. */
export interface EngineDefects {
  readonly planted: number;
  readonly caught: number;
  readonly list: readonly Omit<PlantedDefect, 'says'>[];
}

/** Fewer do not show that the tests of an engine see anything. */
export const leastPlanted = 4;

const CONTROL_NAME = /^(.+?): (.+): catches "(.+)"$/;

/** `embedded, shared` and `streams on sqlite` are of `embedded` and of `streams`, `redis-lists` is not of `redis`. */
const placeOf = (of: string): string => nameOf(/^[^ ,]+/.exec(of)?.[0] ?? of);

/** Files that plant something; with names, those in which one of them stands: what a file really plants is known only when it has run. */
export function filesOfDefects(names: readonly string[]): string[] {
  return globSync('packages/messaging/src/**/*.int.test.ts', { cwd: root })
    .filter((file) => {
      const text = readFileSync(join(root, file), 'utf8');
      const said = [...text.matchAll(/['`]([a-z][\w-]*)/g)].map(([, word = '']) => nameOf(word));
      return (
        text.includes('registerControls(') && (names.length === 0 || said.some((one) => names.includes(one)))
      );
    })
    .toSorted()
    .map((file) => join(root, file));
}

export function listDefects(modules: readonly TestModule[], names: readonly string[]): DefectList {
  const defects = defectsIn(modules).filter(({ of }) => names.length === 0 || names.includes(placeOf(of)));
  const wanted = engineSuites
    .map(({ name }) => name)
    .filter((name) => names.length === 0 || names.includes(name));
  const engines = wanted.map(
    (name) => [name, tallyOf(defects.filter(({ of }) => placeOf(of) === name))] as const,
  );
  return { ...tallyOf(defects), engines: Object.fromEntries(engines), defects };
}

/** By place, and within one in the order of files and of their tests, whichever ended first. */
const defectsIn = (modules: readonly TestModule[]): PlantedDefect[] =>
  modules
    .toSorted((a, b) => (a.moduleId < b.moduleId ? -1 : 1))
    .flatMap((module) => [...module.children.allTests()].flatMap((test) => defectOf(test) ?? []))
    .toSorted((a, b) => (a.of < b.of ? -1 : a.of > b.of ? 1 : 0));

/** What the tests that ran planted in this engine. */
export function defectsOfEngine(modules: readonly TestModule[], name: string): EngineDefects {
  const found = defectsIn(modules).filter(({ of }) => placeOf(of) === name);
  return { ...tallyOf(found), list: found.map(({ says: _says, ...one }) => one) };
}

const tallyOf = (
  defects: readonly PlantedDefect[],
): { readonly planted: number; readonly caught: number } => ({
  planted: defects.length,
  caught: defects.filter(({ caught }) => caught).length,
});

/** Too little is planted in an engine to say anything. */
export const isTooFew = ({ planted }: { readonly planted: number }): boolean => planted < leastPlanted;

/** By the metadata of its run, or by its name where it did not run. */
function defectOf(test: TestCase): PlantedDefect | undefined {
  const [, place, by, what] = CONTROL_NAME.exec(test.name) ?? [];
  const { control } = test.meta() as ControlMeta;
  const of = control?.of ?? place;
  const defect = control?.defect ?? what;
  const caughtBy = control?.caughtBy ?? by;
  if (of === undefined || defect === undefined || caughtBy === undefined) return undefined;
  const { state, errors } = test.result();
  const caught = state === 'passed' && control?.failure !== undefined;
  const says = caught
    ? (control?.failure ?? '')
    : (errors?.[0]?.message ?? 'not run: its server is not there');
  return { of, defect, caughtBy, caught, says };
}
