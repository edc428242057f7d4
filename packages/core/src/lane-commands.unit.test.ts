import { describe, expect, test } from 'vitest';
import type { EntryCommand } from './admit.ts';
import { admit } from './admit.ts';
import { evolve } from './evolve.ts';
import type { CampaignTerms, LaneState } from './lane.ts';
import { campaignStateOf, owedRecord } from './lane.ts';
import type { LaneCommand, LaneRejection } from './lane-commands.ts';
import { checkTerms, decideLane, publishLane } from './lane-commands.ts';
import { maxUnits } from './record-codec.ts';

const terms: CampaignTerms = {
  capacity: 3,
  safetyStock: 0,
  waitlistLimit: 0,
  closeWhenSoldOut: false,
  startsAt: 1_000,
  endsAt: 9_000,
};
const during = 2_000;

function member(n: number): EntryCommand {
  const hex = n.toString(16);
  return {
    memberKey: hex.padStart(32, '0'),
    member: hex.padStart(64, '0'),
    answers: null,
    qualification: { eligible: true },
  };
}

/** An open lane with so many entries. */
function open(entries: number, changes: Partial<CampaignTerms> = {}): LaneState {
  const { lane } = publishLane('spring', 0, { ...terms, ...changes }, 'd'.repeat(64), 500);
  return admit(
    lane,
    new Map(),
    Array.from({ length: entries }, (_, i) => member(i + 1)),
    during,
  ).lane;
}

const scheduled = publishLane('spring', 0, terms, 'd'.repeat(64), 500).lane;

function done(lane: LaneState, command: LaneCommand, now = during): LaneState {
  const outcome = decideLane(lane, command, now);
  if (!outcome.ok) throw new Error(JSON.stringify(outcome.rejection));
  return outcome.lane;
}

const close: LaneCommand = { command: 'close' };
const pause: LaneCommand = { command: 'pause' };
function stock(capacity: number, safetyStock = 0, waitingSeqs: readonly number[] = []): LaneCommand {
  return { command: 'change-stock', capacity, safetyStock, waitingSeqs };
}
function revokeUnit(
  seq: number,
  unit: number,
  unitShown: boolean,
  waitingSeqs: readonly number[] = [],
): LaneCommand {
  return { command: 'revoke', seq, unit, unitShown, waiting: false, waitingSeqs };
}
function revokeWaiting(seq: number, waitingSeqs: readonly number[] = []): LaneCommand {
  return { command: 'revoke', seq, unit: null, unitShown: false, waiting: true, waitingSeqs };
}
const replace = (seq: number, unit: number): LaneCommand => ({ command: 'replace', seq, unit });
const promote = (seq: number): LaneCommand => ({ command: 'promote', seq });

interface Done {
  readonly name: string;
  readonly lane: LaneState;
  readonly command: LaneCommand;
  readonly types: readonly string[];
  readonly now: number;
}

const tick: LaneCommand = { command: 'tick' };
function row(
  name: string,
  lane: LaneState,
  command: LaneCommand,
  types: readonly string[],
  now = during,
): Done {
  return { name, lane, command, types, now };
}

const outcomes: readonly Done[] = [
  row('too early to open', scheduled, tick, [], 999),
  row('opens on the dot', scheduled, tick, ['OPENED'], 1_000),
  row(
    'opens with nothing to give',
    publishLane('s', 0, { ...terms, safetyStock: 3 }, 'd'.repeat(64), 0).lane,
    tick,
    ['OPENED', 'SOLD_OUT'],
  ),
  row('ends on the dot', open(1), tick, ['CLOSED'], 9_000),
  row('ends unopened', scheduled, tick, ['CLOSED'], 9_000),
  row('nothing is due', open(1), tick, []),
  row('nothing is due when closed', done(open(1), close), tick, [], 9_000),
  row('pause', open(1), pause, ['PAUSED']),
  row('a pause that comes with the opening', scheduled, pause, ['OPENED', 'PAUSED']),
  row('resume', done(open(1), pause), { command: 'resume' }, ['RESUMED']),
  row('close', open(1), close, ['CLOSED']),
  row('close before the opening', scheduled, close, ['CLOSED'], 900),
  row('raise the stock before opening', scheduled, stock(5), ['STOCK_CHANGED'], 900),
  row('lower the stock to what is given', open(2), stock(2), ['STOCK_CHANGED', 'SOLD_OUT']),
  row('reserve what is left', open(2), stock(3, 1), ['STOCK_CHANGED', 'SOLD_OUT']),
  row('lower it, closing', open(2, { closeWhenSoldOut: true }), stock(2), [
    'STOCK_CHANGED',
    'SOLD_OUT',
    'CLOSED',
  ]),
  row('raise it when sold out', open(3), stock(5), ['STOCK_CHANGED', 'REOPENED']),
  row('raise it with the safety stock', open(3), stock(5, 2), ['STOCK_CHANGED']),
  row('raise it while two wait', open(5, { waitlistLimit: 2 }), stock(6, 0, [4, 5]), [
    'STOCK_CHANGED',
    'REOPENED',
    'PROMOTED',
    'PROMOTED',
  ]),
  row('release the safety stock', open(2, { safetyStock: 1 }), stock(3), ['STOCK_CHANGED', 'REOPENED']),
  row('revoke an unshown unit', open(1), revokeUnit(1, 1, false), ['REVOKED']),
  row('revoke it when sold out', open(3), revokeUnit(2, 2, false), ['REVOKED', 'REOPENED']),
  row('revoke it while paused', done(open(3), pause), revokeUnit(2, 2, false), ['REVOKED', 'REOPENED']),
  row('revoke a shown unit when sold out', open(3), revokeUnit(2, 2, true), ['REVOKED']),
  row('revoke it while one waits', open(4, { waitlistLimit: 1 }), revokeUnit(2, 2, false, [4]), [
    'REVOKED',
    'REOPENED',
    'PROMOTED',
  ]),
  row('revoke one who waits, the list full', open(4, { waitlistLimit: 1 }), revokeWaiting(4), [
    'REVOKED',
    'REOPENED',
  ]),
  row('revoke one who waits, the list not full', open(4, { waitlistLimit: 2 }), revokeWaiting(4), [
    'REVOKED',
  ]),
  row('revoke on a closed lane', done(open(3), close), revokeUnit(2, 2, false), ['REVOKED']),
  row(
    'revoke on a closed lane, promoting',
    done(open(4, { waitlistLimit: 2 }), close),
    revokeUnit(2, 2, false, [4]),
    ['REVOKED', 'PROMOTED'],
  ),
  row(
    'promote on a closed lane',
    done(done(open(4, { waitlistLimit: 2 }), close), revokeUnit(2, 2, false)),
    promote(4),
    ['PROMOTED'],
  ),
  row('replace from free units', open(2), replace(1, 1), ['REPLACED', 'SOLD_OUT']),
  row('replace from the safety stock', open(2, { safetyStock: 1 }), replace(1, 1), ['REPLACED']),
  row('replace on a closed lane', done(open(2), close), replace(1, 1), ['REPLACED']),
  row('restore', open(2), { command: 'restore', epoch: 2 }, ['RESTORED']),
  row('restore at endsAt', open(2), { command: 'restore', epoch: 5 }, ['RESTORED'], 9_000),
];

interface Refused {
  readonly lane: LaneState;
  readonly command: LaneCommand;
  readonly rejection: LaneRejection;
  readonly now: number;
}
const closed = done(open(2), close);
const beforeClosing = ['scheduled', 'open', 'paused'] as const;
const afterOpening = ['open', 'paused', 'closed'] as const;

function no(lane: LaneState, command: LaneCommand, rejection: LaneRejection, now = during): Refused {
  return { lane, command, rejection, now };
}

const rejections: readonly Refused[] = [
  no(scheduled, pause, { code: 'wrong-phase', phase: 'scheduled', allowed: ['open'] }, 900),
  no(done(open(0), pause), pause, { code: 'wrong-phase', phase: 'paused', allowed: ['open'] }),
  no(open(0), { command: 'resume' }, { code: 'wrong-phase', phase: 'open', allowed: ['paused'] }),
  no(closed, close, { code: 'wrong-phase', phase: 'closed', allowed: beforeClosing }),
  no(open(0), pause, { code: 'wrong-phase', phase: 'closed', allowed: ['open'] }, 9_000),
  no(closed, stock(9), { code: 'wrong-phase', phase: 'closed', allowed: beforeClosing }),
  no(
    scheduled,
    revokeUnit(1, 1, false),
    { code: 'wrong-phase', phase: 'scheduled', allowed: afterOpening },
    900,
  ),
  no(open(2), stock(1), { code: 'capacity-below-granted', lowest: 2 }),
  no(open(2), stock(2, 1), { code: 'capacity-below-granted', lowest: 3 }),
  no(done(open(2), revokeUnit(2, 2, false)), stock(1), { code: 'capacity-below-granted', lowest: 2 }),
  no(open(0), stock(maxUnits + 1), { code: 'stock-out-of-range', highest: maxUnits }),
  no(open(0), stock(1.5), { code: 'stock-out-of-range', highest: maxUnits }),
  no(open(0), stock(0), { code: 'stock-out-of-range', highest: maxUnits }),
  no(open(0), stock(3, -1), { code: 'stock-out-of-range', highest: maxUnits }),
  no(open(0), stock(3), { code: 'stock-unchanged' }),
  no(open(2), revokeUnit(3, 1, false), { code: 'entry-unknown', last: 2 }),
  no(open(2), replace(0, 1), { code: 'entry-unknown', last: 2 }),
  no(open(2), promote(9), { code: 'entry-unknown', last: 2 }),
  no(open(2), revokeUnit(2, 3, false), { code: 'unit-not-given' }),
  no(done(open(2), revokeUnit(2, 2, false)), replace(2, 2), { code: 'unit-not-given' }),
  no(
    open(2),
    { command: 'revoke', seq: 1, unit: null, unitShown: false, waiting: false, waitingSeqs: [] },
    { code: 'nothing-to-revoke' },
  ),
  no(open(2), revokeWaiting(1), { code: 'nobody-waits' }),
  no(open(2), promote(1), { code: 'nobody-waits' }),
  no(open(4, { waitlistLimit: 1 }), promote(4), { code: 'no-free-unit' }),
  no(open(3), replace(1, 1), { code: 'no-free-unit' }),
  no(open(5, { waitlistLimit: 2 }), stock(6), { code: 'waiting-entries-wrong', needed: 2 }),
  no(open(5, { waitlistLimit: 2 }), stock(6, 0, [5, 4]), { code: 'waiting-entries-wrong', needed: 2 }),
  no(open(5, { waitlistLimit: 2 }), revokeUnit(1, 1, false, [1]), {
    code: 'waiting-entries-wrong',
    needed: 1,
  }),
  no(open(2), { command: 'restore', epoch: 1 }, { code: 'epoch-not-raised', epoch: 1 }),
];

describe('decideLane', () => {
  test.each([...outcomes])('$name', ({ lane, command, types, now }) => {
    const before = structuredClone(lane);
    const outcome = decideLane(lane, command, now);
    if (!outcome.ok) throw new Error(JSON.stringify(outcome.rejection));
    expect(outcome.records.map((record) => record.type)).toEqual(types);
    expect(outcome.records.reduce(evolve, lane)).toEqual(outcome.lane);
    expect(owedRecord(outcome.lane)).toBeNull();
    expect(lane).toEqual(before);
  });

  test.each([...rejections])(
    'refused: $command.command, $rejection.code, %#',
    ({ lane, command, rejection, now }) => {
      expect(decideLane(lane, command, now)).toEqual({ ok: false, rejection });
    },
  );

  test('every rejection has a row', () => {
    const codes = new Set(rejections.map(({ rejection }) => rejection.code));
    const all: Record<LaneRejection['code'], true> = {
      'wrong-phase': true,
      'capacity-below-granted': true,
      'stock-out-of-range': true,
      'stock-unchanged': true,
      'entry-unknown': true,
      'unit-not-given': true,
      'nothing-to-revoke': true,
      'nobody-waits': true,
      'no-free-unit': true,
      'waiting-entries-wrong': true,
      'epoch-not-raised': true,
    };
    expect([...codes].sort()).toEqual(Object.keys(all).sort());
  });

  test('a replacement comes from the safety stock first and voids the old unit', () => {
    const lane = done(open(2, { safetyStock: 1 }), replace(1, 1));
    expect(lane).toMatchObject({ free: 0, reserved: 0, issued: 2, void: 1, nextUnit: 4 });
  });

  test('a campaign is a draft until it has a lane', () => {
    expect([null, scheduled, open(0), closed].map(campaignStateOf)).toEqual([
      'draft',
      'scheduled',
      'open',
      'closed',
    ]);
  });
});

describe('terms', () => {
  const faulty: readonly (readonly [Partial<CampaignTerms>, string])[] = [
    [{ capacity: 0 }, '/capacity'],
    [{ capacity: 1.5 }, '/capacity'],
    [{ safetyStock: -1 }, '/safetyStock'],
    [{ safetyStock: 4 }, '/safetyStock'],
    [{ waitlistLimit: Number.NaN }, '/waitlistLimit'],
    [{ startsAt: -1 }, '/startsAt'],
    [{ endsAt: 0.5 }, '/endsAt'],
    [{ endsAt: 1_000 }, '/endsAt'],
  ];
  test.each(faulty)('%j', (change, pointer) => {
    expect(checkTerms({ ...terms, ...change }).map((fault) => fault.pointer)).toEqual([pointer]);
    expect(() => publishLane('spring', 0, { ...terms, ...change }, 'd'.repeat(64), 0)).toThrow(RangeError);
  });
  test('good terms have no fault, and an id that a record cannot hold is refused', () => {
    expect(checkTerms(terms)).toEqual([]);
    expect(() => publishLane('spring\nsale', 0, terms, 'd'.repeat(64), 0)).toThrow(RangeError);
  });
});
