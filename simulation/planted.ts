/**
 * Negative controls: defects planted in production code while it is loaded (`plant.ts`), never in its files. Each must be caught within a few seeds, or the
 * simulation proves nothing about the promise it breaks. A patch quotes the shortest line that names its place and must match exactly once;
 * whoever changes such a line changes the quote here.
 *
 * Where the store makes a wrong state impossible twice over (a rule and a constraint), both are taken away: the control is about the auditor, not about
 * SQLite.
 */

export interface Patch {
  /** Below packages/. */
  readonly file: string;
  /** Matches exactly once. */
  readonly find: RegExp;
  readonly put: string;
}
export interface Planted {
  /** What goes wrong, in one sentence. */
  readonly what: string;
  readonly patches: readonly Patch[];
}

const core = 'core/src/';
const sqlite = 'server/src/ledgers/sqlite/';
const fulfilment = 'server/src/fulfilment/';
const admission = 'server/src/admission/';
const messaging = 'messaging/src/';
const schema = `${sqlite}migrations/0001-ledger.ts`;

/** The index that proves a member unique takes the same key again. */
const uniqueOff: Patch = {
  file: schema,
  find: /(CREATE TABLE entry_keys \([^;]*?)PRIMARY KEY \(campaign, member_key\)/,
  put: '$1PRIMARY KEY (campaign, member_key, seq)',
};

export const planted = {
  'acknowledge-before-commit': {
    what: 'A transaction of the ledger is committed when the next one begins; its answers leave at once.',
    patches: [
      { file: `${sqlite}group-commit.ts`, find: /sql\.db\.exec\('COMMIT'\);/, put: '' },
      {
        file: `${sqlite}group-commit.ts`,
        find: /this\.#syncs\(calls/,
        put: "if (sql.db.isTransaction) sql.db.exec('COMMIT'); this.#syncs(calls",
      },
    ],
  },
  'confirm-before-commit': {
    what: 'The queue confirms a publish before its transaction is committed.',
    patches: [
      {
        file: `${messaging}engines/embedded/store.ts`,
        find: /const commitMs = this\.#commit\(\);/,
        put: 'const commitMs = undefined;',
      },
      {
        file: `${messaging}engines/embedded/store.ts`,
        find: /this\.#takeNote\(\);\s*this\.#db\.exec\('BEGIN IMMEDIATE'\);/,
        put: "this.#takeNote(); if (this.#db.isTransaction) this.#db.exec('COMMIT'); this.#db.exec('BEGIN IMMEDIATE');",
      },
    ],
  },
  'unique-member-off': {
    what: 'Nothing keeps a member unique: the index is off, and the look-up misses every second member.',
    patches: [
      uniqueOff,
      {
        file: `${sqlite}entry-keys.ts`,
        find: /for \(const seq of loaded\.table\.seqsOf\(memberKey\)\) \{/,
        put: '$& if (seq % 2 === 0) continue;',
      },
    ],
  },
  'sealed-members-forgotten': {
    what: 'A process that starts knows only the members whose keys are not in the index yet.',
    patches: [
      {
        file: `${sqlite}entry-keys.ts`,
        find: /const from = this\.#writes && phase !== 'closed' \? 0 : sealed;/,
        put: 'const from = sealed;',
      },
      { file: `${sqlite}entry-keys.ts`, find: /if \(loaded\.from > 0\) \{/, put: 'if (loaded.from < 0) {' },
    ],
  },
  'decide-on-uncommitted-state': {
    what: 'The lane is decided on as the last transaction left it in memory, also when that was rolled back.',
    patches: [
      {
        file: `${sqlite}lane-rows.ts`,
        find: /interface StoredLane \{/,
        put: 'const hots = new WeakMap(); const hotOf = (sql) => hots.get(sql) ?? hots.set(sql, new Map()).get(sql);\ninterface StoredLane {',
      },
      {
        file: `${sqlite}lane-rows.ts`,
        find: /export function readLane\([^{]*\{/,
        put: '$& if (hotOf(sql).has(campaign)) return hotOf(sql).get(campaign);',
      },
      {
        file: `${sqlite}lane-rows.ts`,
        find: /export function updateLane\([^{]*\{[^{]*\{/,
        put: '$& hotOf(sql).set(campaign, { state, batchNo, head });',
      },
    ],
  },
  'retry-takes-a-new-seq': {
    what: 'Who asks again is told the next number instead of his own.',
    patches: [
      {
        file: `${core}admit.ts`,
        find: /const \{ verdict, seq, recordNo, unit \} = entry;/,
        put: 'const { verdict, recordNo, unit } = entry; const seq = entry.seq + 1;',
      },
    ],
  },
  'copies-in-one-batch-count-twice': {
    what: 'Two requests of one member in one batch are two entries, and no index refuses the second.',
    patches: [
      { file: `${core}admit.ts`, find: /admitted\.set\(command\.memberKey,/, put: 'void (' },
      uniqueOff,
    ],
  },
  'capacity-off-by-one': {
    what: 'One unit more is given than there is.',
    patches: [
      { file: `${core}admit.ts`, find: /const wins = lane\.free > 0;/, put: 'const wins = lane.free >= 0;' },
      {
        file: `${core}evolve.ts`,
        find: /must\(lane\.free > 0, record,/,
        put: 'must(lane.free >= 0, record,',
      },
      {
        file: `${core}lane.ts`,
        find: /return lane\.free === 0 && lane\.waiting/,
        put: 'return lane.free < 0 && lane.waiting',
      },
      { file: schema, find: /CHECK \(free >= 0\)/, put: '' },
      { file: schema, find: /WHEN new\.unit > coalesce\(/, put: 'WHEN new.unit > 1 + coalesce(' },
      { file: schema, find: /CHECK \(next_unit <= capacity \+ 1\),/, put: '' },
    ],
  },
  'safety-stock-sold': {
    what: 'Units kept in reserve are offered to the public.',
    patches: [
      {
        file: `${core}evolve.ts`,
        find: /free: published\.capacity - published\.safetyStock,/,
        put: 'free: published.capacity,',
      },
      { file: `${core}evolve.ts`, find: /reserved: published\.safetyStock,/, put: 'reserved: 0,' },
    ],
  },
  'reopening-forgotten': {
    what: 'A sold-out lane stays sold out when a unit comes back or stock is raised.',
    patches: [{ file: `${core}lane.ts`, find: /if \(!full\) return 'REOPENED';/, put: '' }],
  },
  'promotion-without-a-fresh-unit': {
    what: 'Who is promoted gets the unit that was given last.',
    patches: [
      {
        file: `${core}lane-writer.ts`,
        find: /type: 'PROMOTED', at: now, seq, unit: nextFreeUnit\(lane\)/,
        put: "type: 'PROMOTED', at: now, seq, unit: Math.max(1, lane.nextUnit - 1)",
      },
      {
        file: `${core}evolve.ts`,
        find: /if \(unit !== nextFreeUnit\(lane\)\) diverge/,
        put: 'if (unit === 0) diverge',
      },
    ],
  },
  'waitlist-by-the-last': {
    what: 'The longest waiting is not the next to be promoted.',
    patches: [
      {
        file: `${sqlite}store-campaigns.ts`,
        find: /status = 'live' ORDER BY seq LIMIT \?/,
        put: "status = 'live' ORDER BY seq DESC LIMIT ?",
      },
      {
        file: `${sqlite}store-campaigns.ts`,
        find: /\.map\(\(entry\) => entry\.seq\);/,
        put: '.map((entry) => entry.seq).sort((a, b) => a - b);',
      },
    ],
  },
  'paused-lane-admits': {
    what: 'A pause is recorded and changes nothing.',
    patches: [
      {
        file: `${core}admit.ts`,
        find: /if \(lane\.phase === 'paused'\) return \{ verdict: 'paused' \};/,
        put: '',
      },
      {
        file: `${core}evolve.ts`,
        find: /if \(lane\.phase !== 'open'\) diverge/,
        put: "if (lane.phase === 'closed') diverge",
      },
    ],
  },
  'closed-lane-admits': {
    what: 'After the close there are still winners.',
    patches: [
      {
        file: `${core}admit.ts`,
        find: /if \(lane\.closedRecordNo !== null && lane\.closeReason/,
        put: 'if (lane.free === 0 && lane.closedRecordNo !== null && lane.closeReason',
      },
      {
        file: `${core}evolve.ts`,
        find: /if \(lane\.phase !== 'open'\) diverge/,
        put: "if (lane.phase === 'scheduled') diverge",
      },
      {
        file: `${core}evolve.ts`,
        find: /must\(lane\.endsAt === null \|\| record\.at < lane\.endsAt, record,/,
        put: 'must(true, record,',
      },
    ],
  },
  'sold-out-from-a-stale-count': {
    what: 'A process that once saw "sold out" goes on saying so.',
    patches: [
      {
        file: `${admission}gate.ts`,
        find: /moved\(lane: LaneState\): void \{/,
        put: '$& if (this.#lane.soldOutRecordNo !== null && lane.soldOutRecordNo === null) return;',
      },
    ],
  },
  'opens-by-the-clock-of-the-asker': {
    what: 'Opening and closing follow one wall clock, whatever it was set to.',
    patches: [
      {
        file: `${sqlite}authority-clock.ts`,
        find: /Math\.min\(this\.#clock\.now\(\), this\.#expected\(\)\)/,
        put: 'this.#clock.now()',
      },
    ],
  },
  'receipt-signed-before-commit': {
    what: 'Batches are signed while their transaction may still roll back.',
    patches: [
      { file: `${sqlite}group-commit.ts`, find: /log\.sign\(tx\.sealed\);/, put: '' },
      {
        file: `${sqlite}batch-log.ts`,
        find: /tx\.sealed\.push\(row\);/,
        put: 'tx.sealed.push(row); this.sign([row]);',
      },
    ],
  },
  'outbox-after-commit': {
    what: 'Messages are written by the transaction after the one they tell of.',
    patches: [
      {
        file: `${sqlite}group-commit.ts`,
        find: /outbox\.ringFor\(tx\.rung\);/,
        put: 'outbox.ringFor(this.late ?? []); this.late = tx.rung;',
      },
    ],
  },
  'relay-marks-before-the-confirm': {
    what: 'The relay marks messages as published, then publishes them.',
    patches: [
      { file: `${messaging}relay.ts`, find: /await source\.markPublished\(last\.number\);/, put: '' },
      {
        file: `${messaging}relay.ts`,
        find: /await bus\.forward\(rows\);/,
        put: 'await source.markPublished(last.number); await bus.forward(rows);',
      },
    ],
  },
  'inbox-outside-the-transaction': {
    what: 'A handled message is remembered in a transaction of its own, before its effect.',
    patches: [
      {
        file: `${messaging}inbox.ts`,
        find: /return namedAtOnce\(\(\) => noting\.run\(entry\.subscription, entry\.messageId, entry\.now\)\.changes === 0\);/,
        put: "db.exec('COMMIT'); const fresh = noting.run(entry.subscription, entry.messageId, entry.now).changes; db.exec('BEGIN IMMEDIATE'); return fresh === 0;",
      },
    ],
  },
  'queue-acknowledged-before-the-verdict': {
    what: 'An entry leaves the queue when it is read, not when it is decided.',
    patches: [
      {
        file: `${admission}queued.ts`,
        find: /await this\.#decide\(campaignId, group\.slice\(from, from \+ largestBatch\), outcomes\);/,
        put: '{ for (const { at } of group) outcomes[at] = ack(); void this.#decide(campaignId, group.slice(from, from + largestBatch), []); }',
      },
    ],
  },
  'lease-without-fence': {
    what: 'A worker whose lease ended goes on as if the delivery were still his.',
    patches: [
      {
        file: `${sqlite}store-deliveries.ts`,
        find: /AND fence = \? AND state = 'sending'/,
        put: 'AND (fence = ? OR 1)',
      },
      {
        file: `${fulfilment}claimed-run.ts`,
        find: /clock\.monotonic\(\) >= this\.#leaseEndsAt \|\|/,
        put: '',
      },
    ],
  },
  'provider-id-per-attempt': {
    what: 'The transaction id at the provider comes from the attempt, not from the unit.',
    patches: [
      {
        file: `${fulfilment}voucher-step.ts`,
        find: /const generation = this\.#generation;/,
        put: 'const generation = this.#generation * 1000 + this.#run.delivery.attempts;',
      },
    ],
  },
  'unknown-taken-for-refused': {
    what: 'A provider that did not answer counts as one that refused.',
    patches: [
      {
        file: `${fulfilment}voucher-step.ts`,
        find: /switch \(answer\.result\) \{/,
        put: "switch (answer.result === 'unknown' ? 'refused' : answer.result) {",
      },
    ],
  },
  'not-found-trusted-without-cancel': {
    what: 'A provider that does not know a request is asked again at once, under a new id.',
    patches: [
      {
        file: `${fulfilment}voucher-step.ts`,
        find: /if \(source\.sourceClass !== 'queryable'\) return 0;/,
        put: 'return 0;',
      },
      {
        file: `${fulfilment}voucher-step.ts`,
        find: /if \(found\.value\.result === 'cancelled'\)/,
        put: "if (found.value.result === 'cancelled' || found.value.result === 'not-found')",
      },
    ],
  },
  'unknown-sending-repeated-for-ever': {
    what: 'A voucher whose sending is not known to have arrived is sent again, and again.',
    patches: [
      { file: `${fulfilment}message-step.ts`, find: /unknownSendings > 1\)/, put: 'unknownSendings > 1000)' },
      {
        file: `${fulfilment}message-step.ts`,
        find: /unknownSendings >= 1\)/,
        put: 'unknownSendings >= 1000)',
      },
    ],
  },
  'unknown-taken-for-sent': {
    what: 'A messenger that did not answer counts as one that sent.',
    patches: [
      {
        file: `${fulfilment}message-step.ts`,
        find: /if \(answer\.result === 'sent'\)/,
        put: "if (answer.result === 'sent' || answer.result === 'unknown')",
      },
    ],
  },
  'voucher-shown-before-it-is-marked': {
    what: 'A voucher is handed to the messenger before the ledger knows that it is shown.',
    patches: [
      {
        file: `${fulfilment}message-step.ts`,
        find: /\{ step: 'message-sending', messenger: messenger\.name \},/,
        put: 'null,',
      },
    ],
  },
  'revoked-unit-given-while-shown': {
    what: 'A revoked unit whose voucher was seen is given to the next one.',
    patches: [
      {
        file: `${sqlite}store-campaigns.ts`,
        find: /unitShown: entry\.voucher_shown === 1/,
        put: 'unitShown: false',
      },
      { file: schema, find: /CHECK \(NOT \(state = 'free' AND voucher_shown = 1\)\)/, put: 'CHECK (1)' },
    ],
  },
  'resend-to-the-revoked': {
    what: 'A resend of all delivered vouchers includes those that were taken back.',
    patches: [
      {
        file: `${sqlite}store-delivery-views.ts`,
        find: /AND u\.seq = d\.seq AND u\.state = 'issued'\)`;/,
        put: ' AND 1)`;',
      },
    ],
  },
  'doorbell-only-no-sweep': {
    what: 'Deliveries are looked for only when a message rings.',
    patches: [
      {
        file: `${fulfilment}workers.ts`,
        find: /#sweepAt\(dueAt: number[^{]*\{/,
        put: '$& return;',
      },
    ],
  },
  'backoff-without-a-cap': {
    what: 'Waits between tries grow without end.',
    patches: [
      {
        file: `${fulfilment}backoff.ts`,
        find: /Math\.min\(policy\.maxMs, policy\.firstMs \* 2 \*\* /,
        put: 'Math.max(policy.firstMs, policy.firstMs * 20 ** ',
      },
    ],
  },
  'restore-without-a-new-epoch': {
    what: 'A backup goes on where it ends, as if nothing had been acknowledged after it.',
    patches: [
      {
        file: `${sqlite}offline.ts`,
        find: /of lanes\)\s*store\.campaignStore\.restore\(/,
        put: 'of lanes.slice(lanes.length))\n    store.campaignStore.restore(',
      },
    ],
  },
  'erase-breaks-the-chain': {
    what: 'Erasing a member rewrites the record of the entry.',
    patches: [
      { file: schema, find: /BEFORE UPDATE ON batches /, put: 'BEFORE UPDATE OF campaign ON batches ' },
      {
        file: `${sqlite}scrubber.ts`,
        find: /eraseEntry\(campaign: number, lane: number, seq: number, closed: boolean\): void \{/,
        put: `$& this.#sql.run('UPDATE batches SET records = replace(records, ?, ?) WHERE campaign = ? AND lane = ?', '"seq":' + seq + ',"verdict"', '"seq":0,"verdict"', campaign, lane);`,
      },
    ],
  },
  'erased-member-readable': {
    what: 'Erasing a member leaves the row of the imported list.',
    patches: [
      {
        file: `${sqlite}scrubber.ts`,
        find: /of \['members', 'staged_members'\]/,
        put: "of ['staged_members']",
      },
    ],
  },
  'retention-takes-the-open-ones': {
    what: 'The retention takes campaigns that are still running.',
    patches: [
      {
        file: `${sqlite}store-evidence.ts`,
        find: /AND b\.first_record_no <= l\.closed_record_no AND l\.closed_record_no < b\.first_record_no \+ b\.count\s*WHERE l\.phase = 'closed' AND b\.time < \?/,
        put: 'AND b.batch_no = 1 WHERE b.time < ?',
      },
    ],
  },
  'screening-ignored': {
    what: 'Answers that do not qualify are let in.',
    patches: [
      {
        file: `${sqlite}store-admission.ts`,
        find: /return command[^?]*screenedOut[^?]*\? /,
        put: 'return false ? ',
      },
    ],
  },
  'list-ignored': {
    what: 'Who is on no list is let in.',
    patches: [
      {
        file: `${sqlite}store-admission.ts`,
        find: /if \(campaign\.eligibility\.audience === 'listed'\)/,
        put: 'if (campaign.eligibility === null)',
      },
    ],
  },
} as const satisfies Readonly<Record<string, Planted>>;

export type DefectName = keyof typeof planted;

export function isDefectName(name: string): name is DefectName {
  return Object.hasOwn(planted, name);
}
