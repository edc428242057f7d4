/** What a report says as a whole: that nothing is wrong is something else than that nothing could be looked at. */
import { expect, it } from 'vitest';
import { type FindingKind, ReportBuilder } from './reconciliation-report.ts';

const reportOf = (kinds: readonly FindingKind[]) => {
  const builder = new ReportBuilder({ samples: 5, keys: 5 }, undefined);
  for (const kind of kinds)
    builder.add('recorded', {
      kind,
      id: kind,
      channel: 'c',
      key: undefined,
      at: 1,
      source: 's',
      subscriptions: {},
      reason: undefined,
    });
  return builder.build(1, { from: 0, to: 2 }, undefined, 'dryRun');
};

it.each([
  [[], 'clean'],
  [['settled', 'inFlight', 'waitingInEngine', 'expired', 'discarded'], 'clean'],
  [['settled', 'unverifiable'], 'uncertain'],
  [['unwatched'], 'uncertain'],
  [['unverifiable', 'lost'], 'faulty'],
  [['deadLetter'], 'faulty'],
] as const)('%s: %s', (kinds, verdict) => {
  expect(reportOf(kinds)).toMatchObject({ verdict, clean: verdict === 'clean' });
});
