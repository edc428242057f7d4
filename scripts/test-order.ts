// Which test file begins first. Without durations of an earlier run, as on a clean checkout, vitest begins with the largest files; the files that only register the
// suite of an engine, or its planted defects, are among the smallest and take a minute or two, so they began last and one worker ended alone. Here
// they begin first. Files that are not named keep vitest's order.

import type { TestSpecification } from 'vitest/node';
import { BaseSequencer } from 'vitest/node';

/** What took more than half a minute on two cores, by its path. */
const long =
  /planted-defects|conformance\.int|own-broker|cluster\.int|compaction\.int|sharing\.int|(?:cli|locks|contract)\.int|crash(?:es)?\.int|bench\/[^.]*\.int/;

/** Stable: those within a group stay in their order. */
export function longFirst<T>(files: readonly T[], pathOf: (file: T) => string): T[] {
  const isLong = (file: T): boolean => long.test(pathOf(file));
  return [...files.filter(isLong), ...files.filter((file) => !isLong(file))];
}

export class LongFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return longFirst(await super.sort(files), ({ moduleId }) => moduleId);
  }
}
