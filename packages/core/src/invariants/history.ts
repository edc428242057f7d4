/** I5, I8 and I9: what was shown when, against what was durable when. They need an observed history on one clock. */
import type { EpochMs } from '../record.ts';
import { decodeRecord } from '../record-codec.ts';
import type {
  DeliveredMessage,
  DeliverySnapshot,
  Evidence,
  LedgerSnapshot,
  ObservedAnswer,
  ObservedCommit,
  Violation,
} from './snapshot.ts';
import { laneKey } from './snapshot.ts';

/** A span of time; `to` excluded, Infinity while it lasts. */
interface Span {
  readonly from: EpochMs;
  to: EpochMs;
}

/**
 * I5: nobody is told sold out while a place was free during the whole of the request. A lane is sold out from the commit of its
 * SOLD_OUT record to the commit of REOPENED (plus the tolerance of several processes); the request must touch such a span.
 */
export function checkSoldOutAnswers(
  snapshot: LedgerSnapshot,
  answers: readonly ObservedAnswer[],
  commits: readonly ObservedCommit[],
  toleranceMs: number,
): Violation[] {
  const found: Violation[] = [];
  const spans = soldOutSpans(snapshot, commits);
  for (const answer of answers) {
    if (answer.verdict !== 'sold-out') continue;
    const truthful = spans
      .get(laneKey(answer))
      ?.some((span) => span.from <= answer.endedAt && answer.startedAt < span.to + toleranceMs);
    if (truthful === true) continue;
    const request = `${answer.startedAt} to ${answer.endedAt}`;
    found.push({
      invariant: 'I5',
      detail: `${laneKey(answer)}: ${answer.memberKey} was told sold out from ${request}, and it never was`,
    });
  }
  return found;
}

/** By lane, from the stored records and the times at which their batches were seen to be durable. */
function soldOutSpans(snapshot: LedgerSnapshot, commits: readonly ObservedCommit[]): Map<string, Span[]> {
  const committedAt = commitTimes(commits);
  const all = new Map<string, Span[]>();
  for (const { head, records } of snapshot.batches) {
    const key = laneKey(head);
    const spans = all.get(key) ?? [];
    all.set(key, spans);
    records.forEach((text, i) => {
      if (!text.includes('"SOLD_OUT"') && !text.includes('"REOPENED"')) return;
      const at = committedAt(key, head.firstRecordNo + i);
      const last = spans.at(-1);
      if (decodeRecord(text).type === 'SOLD_OUT')
        spans.push({ from: at ?? Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY });
      else if (last !== undefined) last.to = at ?? Number.POSITIVE_INFINITY;
    });
  }
  return all;
}

/** The time at which a record became durable; undefined when no commit was observed with it. */
function commitTimes(
  commits: readonly ObservedCommit[],
): (lane: string, recordNo: number) => EpochMs | undefined {
  const byLane = new Map<string, ObservedCommit[]>();
  for (const commit of commits) {
    const list = byLane.get(laneKey(commit));
    if (list === undefined) byLane.set(laneKey(commit), [commit]);
    else list.push(commit);
  }
  for (const list of byLane.values()) list.sort((a, b) => a.firstRecordNo - b.firstRecordNo);
  return (lane, recordNo) => {
    const list = byLane.get(lane) ?? [];
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((list[middle] as ObservedCommit).firstRecordNo <= recordNo) low = middle + 1;
      else high = middle;
    }
    const commit = list[low - 1];
    return commit !== undefined && recordNo < commit.firstRecordNo + commit.count
      ? commit.committedAt
      : undefined;
  };
}

/** I9: nothing is shown before it is durable: every record that an answer names, and every grant behind a message. */
export function checkDurability(
  snapshot: LedgerSnapshot,
  answers: readonly ObservedAnswer[],
  messages: readonly DeliveredMessage[],
  commits: readonly ObservedCommit[],
): Violation[] {
  const found: Violation[] = [];
  const committedAt = commitTimes(commits);
  const mustBeDurable = (lane: string, recordNo: number, shownAt: EpochMs, what: string) => {
    const at = committedAt(lane, recordNo);
    if (at !== undefined && at <= shownAt) return;
    const durable = at === undefined ? 'was never seen to be durable' : `became durable at ${at}`;
    found.push({
      invariant: 'I9',
      detail: `${lane}: ${what} was shown at ${shownAt}, record ${recordNo} ${durable}`,
    });
  };
  for (const answer of answers) {
    if (answer.recordNo !== null)
      mustBeDurable(
        laneKey(answer),
        answer.recordNo,
        answer.endedAt,
        `${answer.verdict} of ${answer.memberKey}`,
      );
  }
  const granted = grantRecords(snapshot);
  const units = new Map(
    snapshot.vouchers.map((voucher) => [`${voucher.campaign}/${voucher.voucher}`, voucher.unit]),
  );
  for (const message of messages) {
    const grant = granted.get(`${message.campaign}#${units.get(`${message.campaign}/${message.voucher}`)}`);
    if (grant !== undefined)
      mustBeDurable(grant.lane, grant.recordNo, message.shownAt, `the voucher of ${message.memberKey}`);
    else
      found.push({
        invariant: 'I9',
        detail: `${message.campaign}: ${message.memberKey} was sent a voucher that no record grants`,
      });
  }
  return found;
}

/** By campaign and unit: the first record that granted it (a unit that came back unshown was shown by its later holder only). */
function grantRecords(
  snapshot: LedgerSnapshot,
): Map<string, { readonly lane: string; readonly recordNo: number }> {
  const grants = new Map<string, { readonly lane: string; readonly recordNo: number }>();
  for (const { head, records } of snapshot.batches) {
    records.forEach((text, i) => {
      const record = decodeRecord(text);
      const unit =
        record.type === 'ENTRY' || record.type === 'PROMOTED'
          ? record.unit
          : record.type === 'REPLACED'
            ? record.newUnit
            : null;
      const key = `${head.campaign}#${unit}`;
      if (unit !== null && !grants.has(key))
        grants.set(key, { lane: laneKey(head), recordNo: head.firstRecordNo + i });
    });
  }
  return grants;
}

const calmLimitMs = 60_000;

/** I8: once faults stopped for 60 s, every grant is delivered (and its message arrived) or parked for a person. */
export function checkSettled(snapshot: LedgerSnapshot, evidence: Evidence): Violation[] {
  const { calm, messages } = evidence;
  if (calm === undefined || calm.observedAt - calm.since < (calm.limitMs ?? calmLimitMs)) return [];
  const found: Violation[] = [];
  const deliveries = new Map(snapshot.deliveries.map((delivery) => [deliveryKey(delivery), delivery]));
  const served =
    messages === undefined
      ? null
      : new Set(messages.map((message) => `${message.campaign}/${message.memberKey}`));
  for (const entry of snapshot.entries) {
    if (entry.status !== 'granted' || entry.unit === null) continue;
    const state = deliveries.get(deliveryKey({ ...entry, unit: entry.unit }))?.state ?? 'missing';
    const arrived = served === null || served.has(`${entry.campaign}/${entry.memberKey}`);
    if (state === 'parked' || (state === 'delivered' && arrived)) continue;
    const what = state === 'delivered' ? 'said to be delivered, and no message arrived' : state;
    found.push({
      invariant: 'I8',
      detail: `${laneKey(entry)}: the delivery of entry ${entry.seq} is ${what}`,
    });
  }
  return found;
}

function deliveryKey(of: Pick<DeliverySnapshot, 'campaign' | 'lane' | 'seq' | 'unit'>): string {
  return `${laneKey(of)}#${of.seq}#${of.unit}`;
}
