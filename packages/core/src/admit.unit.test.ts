import { describe, expect, test } from 'vitest';
import type { Decision, EntryCommand, KnownEntry } from './admit.ts';
import { admit } from './admit.ts';
import { evolve } from './evolve.ts';
import type { CampaignTerms, LaneState } from './lane.ts';
import { decideLane, publishLane } from './lane-commands.ts';
import type { LaneCommand } from './lane-commands.ts';
import { encodeRecord } from './record-codec.ts';

const opensAt = 1_000;
const endsAt = 9_000;
const during = 2_000;

function published(terms: Partial<CampaignTerms> = {}): LaneState {
  const defaults = {
    capacity: 2,
    safetyStock: 0,
    waitlistLimit: 0,
    closeWhenSoldOut: false,
    startsAt: opensAt,
    endsAt,
  };
  return publishLane('spring', 0, { ...defaults, ...terms }, 'd'.repeat(64), 500).lane;
}

function member(n: number, reason?: string): EntryCommand {
  const hex = n.toString(16);
  const qualification =
    reason === undefined ? { eligible: true as const } : { eligible: false as const, reason };
  return { memberKey: hex.padStart(32, '0'), member: hex.padStart(64, '0'), answers: null, qualification };
}

/** The lane after commands and members, each at `during`. */
function after(lane: LaneState, ...steps: readonly (LaneCommand | number)[]): LaneState {
  return steps.reduce((state: LaneState, step) => {
    if (typeof step === 'number') return admit(state, new Map(), [member(step)], during).lane;
    const outcome = decideLane(state, step, during);
    if (!outcome.ok) throw new Error(JSON.stringify(outcome.rejection));
    return outcome.lane;
  }, lane);
}

const inAlready: KnownEntry = { seq: 7, recordNo: 9, verdict: 'won', unit: 7 };
const repeat: Decision = { ...inAlready, repeated: true };
const won = (seq: number, recordNo: number, unit: number): Decision => ({
  verdict: 'won',
  seq,
  recordNo,
  unit,
  repeated: false,
});

const closedByOperator = after(published(), { command: 'close' });
const closedSoldOut = after(published({ closeWhenSoldOut: true }), 1, 2);
const pausedSoldOut = after(published(), 1, 2, { command: 'pause' });
const paused = after(published(), { command: 'tick' }, { command: 'pause' });

interface Row {
  readonly name: string;
  readonly lane: LaneState;
  readonly now?: number;
  readonly command?: EntryCommand;
  readonly decision: Decision;
  readonly records?: readonly string[];
}

/** In the precedence of `verdicts`: each row also meets the conditions of later rows where it can. */
const rows: readonly Row[] = [
  {
    name: 'scheduled, one ms early',
    lane: published(),
    now: opensAt - 1,
    decision: { verdict: 'not-open', opensAt },
  },
  {
    name: 'scheduled and ineligible',
    lane: published(),
    now: 0,
    command: member(1, 'no'),
    decision: { verdict: 'not-open', opensAt },
  },
  {
    name: 'on the dot',
    lane: published(),
    now: opensAt,
    decision: won(1, 3, 1),
    records: ['OPENED', 'ENTRY'],
  },
  {
    name: 'at endsAt',
    lane: published(),
    now: endsAt,
    decision: { verdict: 'closed', recordNo: 2 },
    records: ['CLOSED'],
  },
  {
    name: 'one ms before endsAt',
    lane: published(),
    now: endsAt - 1,
    decision: won(1, 3, 1),
    records: ['OPENED', 'ENTRY'],
  },
  {
    name: 'at endsAt while paused',
    lane: paused,
    now: endsAt,
    decision: { verdict: 'closed', recordNo: 4 },
    records: ['CLOSED'],
  },
  {
    name: 'at endsAt while sold out',
    lane: pausedSoldOut,
    now: endsAt,
    decision: { verdict: 'closed', recordNo: 7 },
    records: ['CLOSED'],
  },
  {
    name: 'closed by the operator, ineligible',
    lane: closedByOperator,
    command: member(3, 'no'),
    decision: { verdict: 'closed', recordNo: 3 },
  },
  { name: 'closed by sold-out', lane: closedSoldOut, decision: { verdict: 'sold-out', recordNo: 5 } },
  {
    name: 'sold out before paused',
    lane: pausedSoldOut,
    command: member(3, 'no'),
    decision: { verdict: 'sold-out', recordNo: 5 },
  },
  {
    name: 'paused before ineligible',
    lane: paused,
    command: member(3, 'no'),
    decision: { verdict: 'paused' },
  },
  {
    name: 'ineligible',
    lane: after(published(), 1),
    command: member(3, 'no'),
    decision: { verdict: 'ineligible', reason: 'no' },
  },
  {
    name: 'the last unit',
    lane: after(published(), 1),
    decision: won(2, 4, 2),
    records: ['ENTRY', 'SOLD_OUT'],
  },
  {
    name: 'the last unit, closing',
    lane: after(published({ closeWhenSoldOut: true }), 1),
    decision: won(2, 4, 2),
    records: ['ENTRY', 'SOLD_OUT', 'CLOSED'],
  },
  {
    name: 'the last unit, with a waitlist',
    lane: after(published({ waitlistLimit: 1, closeWhenSoldOut: true }), 1),
    decision: won(2, 4, 2),
    records: ['ENTRY'],
  },
  {
    name: 'the last place of the waitlist',
    lane: after(published({ waitlistLimit: 1 }), 1, 2),
    decision: { verdict: 'waitlisted', seq: 3, recordNo: 5, unit: null, repeated: false },
    records: ['ENTRY', 'SOLD_OUT'],
  },
  {
    name: 'nothing but safety stock',
    lane: published({ safetyStock: 2 }),
    decision: { verdict: 'sold-out', recordNo: 3 },
    records: ['OPENED', 'SOLD_OUT'],
  },
  {
    name: 'a unit that came back goes first',
    lane: after(published({ capacity: 4 }), 1, 2, {
      command: 'revoke',
      seq: 1,
      unit: 1,
      unitShown: false,
      waiting: false,
      waitingSeqs: [],
    }),
    decision: won(3, 6, 1),
    records: ['ENTRY'],
  },
  {
    name: 'a unit that was shown does not come back',
    lane: after(published({ capacity: 4 }), 1, 2, {
      command: 'revoke',
      seq: 1,
      unit: 1,
      unitShown: true,
      waiting: false,
      waitingSeqs: [],
    }),
    decision: won(3, 6, 3),
    records: ['ENTRY'],
  },
];

describe('admit', () => {
  test.each(rows)('$name', ({ lane, now = during, command = member(99), decision, records = [] }) => {
    const result = admit(lane, new Map(), [command], now);
    expect(result.decisions).toEqual([decision]);
    expect(result.records.map((record) => record.type)).toEqual(records);
    expect(result.records.reduce(evolve, lane)).toEqual(result.lane);
  });

  test.each([
    ['scheduled', published()],
    ['closed', closedByOperator],
    ['sold out', pausedSoldOut],
    ['paused', paused],
  ] as const)('a member who is in keeps the first verdict while %s', (_, lane) => {
    const { memberKey } = member(5);
    const result = admit(lane, new Map([[memberKey, inAlready]]), [member(5, 'no longer eligible')], 700);
    expect(result.decisions).toEqual([repeat]);
    expect(result.records).toEqual([]);
  });

  test('fifty copies of one request in a batch take one unit', () => {
    const lane = published({ capacity: 60 });
    const { decisions, records } = admit(
      lane,
      new Map(),
      Array.from({ length: 50 }, () => member(1)),
      during,
    );
    expect(decisions[0]).toEqual(won(1, 3, 1));
    expect(new Set(decisions.slice(1).map((decision) => JSON.stringify(decision)))).toEqual(
      new Set([JSON.stringify({ ...won(1, 3, 1), repeated: true })]),
    );
    expect(records.map((record) => record.type)).toEqual(['OPENED', 'ENTRY']);
  });

  test('a thousand members on the last unit: one wins, the others hold the record of SOLD_OUT', () => {
    const crowd = Array.from({ length: 1_000 }, (_, i) => member(i + 1));
    const { decisions, records, lane } = admit(published({ capacity: 1 }), new Map(), crowd, during);
    expect(decisions.filter((decision) => decision.verdict === 'won')).toHaveLength(1);
    expect(
      decisions.slice(1).every((d) => d.verdict === 'sold-out' && d.recordNo === lane.soldOutRecordNo),
    ).toBe(true);
    expect(records.at(-1)?.recordNo).toBe(lane.soldOutRecordNo);
  });

  test('the state that was given is not changed', () => {
    const lane = after(published({ capacity: 4 }), 1, 2, {
      command: 'revoke',
      seq: 1,
      unit: 1,
      unitShown: false,
      waiting: false,
      waitingSeqs: [],
    });
    const before = structuredClone(lane);
    admit(lane, new Map(), [member(8), member(9)], during);
    expect(lane).toEqual(before);
  });

  test('an entry in text', () => {
    const { records } = admit(published(), new Map(), [{ ...member(1), answers: 'a'.repeat(64) }], during);
    expect(encodeRecord(records[1]!)).toBe(
      `{"recordNo":3,"type":"ENTRY","at":2000,"seq":1,"verdict":"won","unit":1,"member":"${'0'.repeat(63)}1","answers":"${'a'.repeat(64)}"}`,
    );
  });
});
