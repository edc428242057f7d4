/**
 * The report of `--earlier`. It is gone on from with its counts and its place, so what lacks one of them must not be taken for a report: with nothing to go on to, nothing would be looked
 * at and all be clean.
 */
import type { ReconciliationReport } from '../reconciliation-report.ts';
import { type CliFailure, usage } from './failure.ts';
import type { Sources } from './module-sources.ts';

type Check = (value: unknown) => boolean;
type Fields = Readonly<Record<string, unknown>>;

const isText: Check = (value) => typeof value === 'string';
const isTime: Check = (value) => Number.isFinite(value);
const isCount: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isCounts: Check = (value) => isFields(value) && Object.values(value).every(isCount);
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const having =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    isFields(value) && Object.entries(fields).every(([name, check]) => check(value[name]));

const isFinding = having({ kind: isText, id: isText });

/** What is optional an older report may lack, and is gone on without. */
const PARTS: Readonly<Record<string, Check>> = {
  at: isTime,
  window: having({ from: isTime, to: isTime }),
  complete: (value) => typeof value === 'boolean',
  checked: having({ recorded: isCount, settled: isCount }),
  counts: isCounts,
  repair: having({
    republishable: isCount,
    republished: isCount,
    failures: listOf(isText),
    needsPersonCount: optional(isCount),
    needsPerson: listOf(having({ id: isText, why: isText, remedy: isText })),
  }),
  samples: optional(listOf(isFinding)),
  keys: optional(listOf(having({ channel: isText, key: isText, findings: listOf(isFinding) }))),
  keysLeftOut: optional(isCount),
  subscriptions: optional(listOf(having({ subscription: isText, channel: isText, standings: isCounts }))),
  blindSpots: optional(listOf(having({ subscription: isText, channel: isText }))),
};

const isResumePoint = having({
  phase: (value) => value === 'recorded' || value === 'settled',
  source: isCount,
  after: optional(isText),
});

export function earlierReport(text: string, from: string): ReconciliationReport {
  const given = parsed(text);
  if (!isFields(given)) throw noReport(from, '');
  const wrong = Object.keys(PARTS).find((name) => !PARTS[name]?.(given[name]));
  if (wrong !== undefined) throw noReport(from, wrong);
  if (given['complete'] === false && !isResumePoint(given['resume'])) throw noReport(from, 'resume');
  const report = given as unknown as ReconciliationReport;
  const counted = Object.values(report.counts).reduce((sum, count) => sum + count, 0);
  if (counted < report.checked.recorded) throw noReport(from, 'counts');
  return report;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function noReport(from: string, part: string): CliFailure {
  const which = part === '' ? '' : `: its "${part}" is not there, or is not what a run prints`;
  return usage(
    `--earlier ${from}: not a report${which}`,
    'Give what an earlier run printed with --json, whole.',
  );
}

/** A place behind the last source would be the end. */
export function refuseOtherSources({ resume }: ReconciliationReport, from: string, sources: Sources): void {
  if (!resume || resume.source === 0) return;
  const { length } = sources[resume.phase];
  if (resume.source >= length)
    throw usage(
      `--earlier ${from}: it goes on at source ${resume.source + 1} of "${resume.phase}", and the module of --channels has ${length}`,
      'Give the module that the report was made with; nothing was looked at.',
    );
}
