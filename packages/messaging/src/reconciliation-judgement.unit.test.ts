/** The rules by which a recorded message is judged, one row each, in the order in which they win. */
import { describe, expect, it } from 'vitest';
import { Decisions } from './reconciliation-decisions.ts';
import { type Evidence, judge } from './reconciliation-judgement.ts';
import type { FindingKind } from './reconciliation-report.ts';
import type { RecordedMessage } from './reconciliation-sources.ts';

const NOW = 1_000_000;
const message = (extra: Partial<RecordedMessage> = {}): RecordedMessage => ({
  id: 'm',
  channel: 'c',
  key: undefined,
  recordedAt: NOW - 500_000,
  state: 'published',
  publishedAt: NOW - 400_000,
  reason: undefined,
  outgoing: undefined,
  ...extra,
});
const outgoing = (extra: object): RecordedMessage['outgoing'] => ({
  channel: 'c',
  message: { id: 'm', type: 'c', version: 1, source: '/', time: '', data: 1, headers: {}, ...extra },
});
type Inbox = {
  readonly settled?: boolean;
  readonly keptSince?: number;
  readonly since?: number;
  readonly takes?: () => boolean;
};
const evidence = (a: Inbox = {}, b: Inbox = {}, extra: Partial<Evidence> = {}): Evidence => ({
  now: NOW,
  graceMs: 60_000,
  inboxes: Object.entries({ a, b }).map(([subscription, { settled, keptSince = 0, ...rest }]) => ({
    source: { subscription, channels: ['c'], ...rest },
    settled: new Set(settled ? ['m'] : []),
    keptSince,
  })),
  deadLetters: new Map(),
  backlog: { mayHold: () => false, doubt: () => undefined },
  decisions: new Decisions(0),
  ...extra,
});
const yes = { settled: true };
const toNobody = (): boolean => false;
const letterAtB = { deadLetters: new Map([['m', [{ channel: 'c', subscription: 'b' }]]]) };
const unseen: Partial<Evidence> = { backlog: { mayHold: () => false, doubt: () => 'partial' } };
const waitingUnseen: Partial<Evidence> = { backlog: { mayHold: () => true, doubt: () => 'blind' } };
const decidedAtB = {
  decisions: new Decisions(0, [
    { kind: 'discarded', channel: 'c', subscription: 'b', messageId: 'm', replacedBy: undefined, at: NOW },
  ]),
};
const skippedAtB = (at: number) => ({
  decisions: new Decisions(0, [
    { kind: 'skipped', channel: 'c', subscription: 'b', messageId: '', replacedBy: undefined, at },
  ]),
});
const young = { publishedAt: NOW - 1_000 };

const rows: readonly (readonly [what: string, FindingKind, RecordedMessage, Evidence])[] = [
  ['settled by all', 'settled', message(), evidence(yes, yes)],
  ['known to nobody', 'lost', message(), evidence()],
  ['known to one', 'partlyLost', message(), evidence(yes)],
  ['young', 'inFlight', message(young), evidence(yes)],
  [
    'not due yet',
    'inFlight',
    message({ outgoing: { ...outgoing({}), dueAt: NOW + 1 } as never }),
    evidence(),
  ],
  ['a dead letter for one', 'deadLetter', message(), evidence(yes, {}, letterAtB)],
  ['a dead letter for one, lost for the other', 'partlyLost', message(), evidence({}, {}, letterAtB)],
  ['discarded by a person for one', 'decided', message(), evidence(yes, {}, decidedAtB)],
  ['discarded for one, lost for the other', 'partlyLost', message(), evidence({}, {}, decidedAtB)],
  [
    'discarded, published again, and a dead letter again',
    'deadLetter',
    message(),
    evidence(yes, {}, { ...decidedAtB, ...letterAtB }),
  ],
  ['perhaps skipped by one', 'unverifiable', message(), evidence(yes, {}, skippedAtB(NOW))],
  // A relay notes by when it was published, some time after, and one that starts again later than that.
  [
    'recorded before a rewind, and noted as published after it',
    'unverifiable',
    message(),
    evidence(yes, {}, skippedAtB(NOW - 450_000)),
  ],
  [
    'recorded in the millisecond of a rewind',
    'unverifiable',
    message(),
    evidence(yes, {}, skippedAtB(NOW - 500_000)),
  ],
  ['recorded after a rewind', 'partlyLost', message(), evidence(yes, {}, skippedAtB(NOW - 500_001))],
  ['skipped for one, lost for the other', 'partlyLost', message(), evidence({}, {}, skippedAtB(NOW))],
  [
    'perhaps in a backlog',
    'waitingInEngine',
    message(),
    evidence(yes, {}, { backlog: { mayHold: () => true, doubt: () => undefined } }),
  ],
  [
    'expired',
    'expired',
    message({ outgoing: outgoing({ expiresAt: new Date(NOW - 1).toISOString() }) }),
    evidence(),
  ],
  [
    'not expired yet',
    'lost',
    message({ outgoing: outgoing({ expiresAt: new Date(NOW + 1).toISOString() }) }),
    evidence(),
  ],
  ['perhaps where the engine does not see it', 'unverifiable', message(), evidence({}, {}, unseen)],
  ['settled by one, perhaps unseen at the other', 'unverifiable', message(), evidence(yes, {}, unseen)],
  [
    'waiting for sure, though not all is seen',
    'waitingInEngine',
    message(),
    evidence(yes, {}, waitingUnseen),
  ],
  [
    'expired, and not all is seen',
    'expired',
    message({ outgoing: outgoing({ expiresAt: new Date(NOW - 1).toISOString() }) }),
    evidence({}, {}, unseen),
  ],
  ['older than an inbox remembers', 'unverifiable', message(), evidence(yes, { keptSince: NOW })],
  [
    'recorded before an inbox remembers, and noted as published after it',
    'unverifiable',
    message(),
    evidence(yes, { keptSince: NOW - 450_000 }),
  ],
  ['before a subscription joined', 'settled', message(), evidence(yes, { since: NOW - 1 })],
  ['not meant for one', 'settled', message(), evidence(yes, { takes: () => false })],
  ['meant for nobody here', 'unwatched', message({ channel: 'other' }), evidence()],
  ['not sent, old', 'unpublished', message({ state: 'unpublished' }), evidence()],
  ['not sent, young', 'inFlight', message({ state: 'waiting', recordedAt: NOW - 1 }), evidence()],
  [
    'parked in the outbox, young',
    'parkedInOutbox',
    message({ state: 'parked', recordedAt: NOW }),
    evidence(),
  ],
  ['discarded', 'discarded', message({ state: 'discarded' }), evidence()],
];

describe('judge', () => {
  it.each(rows)('%s: %s', (_what, kind, one, given) => {
    expect(judge(one, given).kind).toBe(kind);
  });

  it('says what is in doubt, and where', () => {
    expect(judge(message(), evidence(yes, {}, unseen))).toMatchObject({
      standings: { a: 'settled', b: 'unverifiable' },
      doubts: [{ subscription: 'b', why: 'partial' }],
      reason: expect.stringContaining('"b" may hold it where the engine does not see it'),
    });
    const both = judge(message(), evidence({}, {}, { ...unseen, ...skippedAtB(NOW) }));
    expect(both.doubts).toEqual([
      { subscription: 'a', why: 'partial' },
      { subscription: 'b', why: 'skipped' },
    ]);
    expect(both.reason).toMatch(/"a" may hold it .*; subscription "b" was rewound/);
  });

  it.each([
    ['decided', decidedAtB],
    ['decided', { ...decidedAtB, ...letterAtB }],
    ['deadLetter', letterAtB],
    ['deadLetter', { ...skippedAtB(NOW), ...letterAtB }],
    ['skipped', skippedAtB(NOW)],
    [
      'skipped',
      {
        ...skippedAtB(NOW),
        backlog: { mayHold: (_: string, at: string) => at === 'b', doubt: () => undefined },
      },
    ],
  ])('tells where a repair of what another lost would undo something: %s', (why, more) => {
    const { kind, objections } = judge(message(), evidence({}, {}, more));
    expect({ kind, objections }).toEqual({ kind: 'partlyLost', objections: [{ subscription: 'b', why }] });
    // What is settled there is in its inbox, and comes to nothing.
    expect(judge(message(), evidence({}, yes, more)).objections).toEqual([]);
  });

  it('tells where a repair would be handled twice, because the inbox has forgotten it', () => {
    expect(judge(message(), evidence({}, { keptSince: NOW }))).toMatchObject({
      kind: 'partlyLost',
      objections: [{ subscription: 'b', why: 'forgotten' }],
    });
  });

  it('does not ask what was skipped where nothing of it can come', () => {
    const after = skippedAtB(NOW - 500_001);
    expect(judge(message(), evidence({}, {}, after)).objections).toEqual([]);
    const { objections } = judge(message(), evidence({}, { takes: () => false }, skippedAtB(NOW)));
    expect(objections).toEqual([]);
  });

  it.each([
    ['a later one', { since: NOW - 499_999 }, [{ subscription: 'b', why: 'joinedLater' }]],
    ['a later one that settled it all the same', { since: NOW - 499_999, settled: true }, []],
    ['one that joined in time', { since: NOW - 500_000, settled: true }, []],
    ['a later one to which it is not routed', { since: NOW, takes: toNobody }, []],
    ['one to which it is not routed', { takes: toNobody }, []],
  ] as const)(
    'tells that a repair would reach a subscription that joined later: %s',
    (_what, b, objections) => {
      expect(judge(message(), evidence({}, b)).objections).toEqual(objections);
    },
  );

  it('takes no subscription for a later one of which another inbox was there in time', () => {
    const { inboxes } = evidence({}, { since: NOW });
    const moved = inboxes.map((one) => ({ ...one, source: { ...one.source, subscription: 'a' } }));
    expect(judge(message(), { ...evidence(), inboxes: moved })).toMatchObject({
      kind: 'lost',
      objections: [],
    });
  });

  it.each([
    ['decided', decidedAtB],
    ['deadLetter', letterAtB],
    ['skipped', skippedAtB(NOW - 500_000)],
  ])('tells it of a subscription whose inbox is not given: %s', (why, more) => {
    const { inboxes } = evidence();
    const one = { ...evidence({}, {}, more), inboxes: inboxes.slice(0, 1) };
    expect(judge(message(), one)).toMatchObject({ kind: 'lost', objections: [{ subscription: 'b', why }] });
    // Of another channel.
    const elsewhere = { channel: 'd', id: 'm' };
    const inboxOfIt = {
      ...one,
      inboxes: inboxes.map((inbox) => ({ ...inbox, source: { ...inbox.source, channels: ['d'] } })),
    };
    expect(judge(message(elsewhere), inboxOfIt).objections).toEqual([]);
  });

  it.each([
    [NOW - 500_000, true],
    [NOW - 500_001, false],
  ])('asks by its recording whether a person may have decided: a log since %i', (since, mayBeDecided) => {
    expect(judge(message(), evidence({}, {}, { decisions: new Decisions(since) }))).toMatchObject({
      mayBeDecided,
    });
  });

  it('counts what waits from when it was due, because an engine may do so', () => {
    const ages: number[] = [];
    const backlog = {
      mayHold: (_: string, __: string, age: number) => ages.push(age) > 0,
      doubt: () => undefined,
    };
    judge(
      message({ outgoing: { ...outgoing({}), dueAt: NOW - 100_000 } as never }),
      evidence({}, {}, { backlog }),
    );
    expect(new Set(ages)).toEqual(new Set([100_000]));
  });
});
