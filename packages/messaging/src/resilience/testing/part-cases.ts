/** Cases of a part that can be put to any make of it: to the real one, and to one with a defect, of which the cases that are named have to fail. */
import { caseNamed, type Control } from '../../conformance/controls.ts';

export interface PartCase<Make> {
  readonly name: string;
  readonly run: (make: Make) => void | Promise<void>;
}

export interface PartDefect<Make> {
  readonly make: Make;
  /** Parts of the names of all cases that see it. */
  readonly seenBy: readonly string[];
}

export function controlsOf<Make>(
  cases: readonly PartCase<Make>[],
  sound: Make,
  defects: Readonly<Record<string, PartDefect<Make>>>,
): readonly Control[] {
  return Object.entries(defects).flatMap(([defect, { make, seenBy }]) =>
    seenBy.map((part) => {
      const { name, run } = caseNamed(cases, part);
      return {
        defect,
        caughtBy: name,
        healthy: async () => run(sound),
        defective: async () => run(make),
      };
    }),
  );
}
