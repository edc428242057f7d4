/** What a child process of the kill cases opens when a defect is planted: the argument is `{ path, defect }`. */
import { plant, type PlantedDefect } from '../../conformance/planted-defects.ts';
import type { Engine } from '../../engine.ts';
import { createEmbeddedEngine } from './engine.ts';

export function openEngine(argument: string): Engine {
  const { path, defect } = JSON.parse(argument) as { path: string; defect: PlantedDefect };
  return plant(defect, createEmbeddedEngine({ path }));
}
