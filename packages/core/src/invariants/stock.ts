/** I1, I3, I6 and I7: units, grants, counters and money, from the tables alone (and the messages, for vouchers). */
import type { LaneState } from '../lane.ts';
import type {
  DeliveredMessage,
  EntrySnapshot,
  LedgerSnapshot,
  PaymentSnapshot,
  UnitSnapshot,
  Violation,
} from './snapshot.ts';
import { laneKey } from './snapshot.ts';

/** I1: granted units <= capacity, each unit within 1..capacity, each with one live holder, and tables agree on who that is. */
export function checkUnits(snapshot: LedgerSnapshot): Violation[] {
  const found: Violation[] = [];
  const broken = (detail: string) => void found.push({ invariant: 'I1', detail });
  const lanes = new Map(snapshot.lanes.map((lane) => [laneKey(lane), lane]));
  const holders = new Map<string, EntrySnapshot>();
  const granted = new Map<string, number>();
  for (const entry of snapshot.entries) {
    if (entry.unit === null) continue;
    const key = laneKey(entry);
    const other = holders.get(`${key}#${entry.unit}`);
    if (other !== undefined)
      broken(`${key}: unit ${entry.unit} is held by entries ${other.seq} and ${entry.seq}`);
    holders.set(`${key}#${entry.unit}`, entry);
    granted.set(key, (granted.get(key) ?? 0) + 1);
    const capacity = lanes.get(key)?.capacity ?? 0;
    if (entry.unit < 1 || entry.unit > capacity)
      broken(`${key}: entry ${entry.seq} holds unit ${entry.unit} of ${capacity}`);
  }
  for (const [key, count] of granted) {
    const capacity = lanes.get(key)?.capacity ?? 0;
    if (count > capacity) broken(`${key}: ${count} units granted of ${capacity}`);
  }
  checkUnitRows(snapshot.units, holders, broken);
  return found;
}

function checkUnitRows(
  units: readonly UnitSnapshot[],
  holders: ReadonlyMap<string, EntrySnapshot>,
  broken: (detail: string) => void,
): void {
  const rows = new Map<string, UnitSnapshot>();
  for (const unit of units) {
    const key = `${laneKey(unit)}#${unit.unit}`;
    if (rows.has(key)) broken(`${key}: two rows for one unit`);
    rows.set(key, unit);
    const holder = holders.get(key);
    if (unit.state === 'issued' && holder?.seq !== unit.seq) {
      broken(`${key}: issued to entry ${unit.seq}, held by ${holder?.seq ?? 'nobody'}`);
    }
    if (unit.state !== 'issued' && holder !== undefined)
      broken(`${key}: ${unit.state}, yet entry ${holder.seq} holds it`);
  }
  for (const [key, holder] of holders)
    if (!rows.has(key)) broken(`${key}: entry ${holder.seq} holds a unit without a row`);
}

/**
 * I3: one live grant per member key, one distinct voucher per member. A voucher whose unit was voided (revoked or replaced after
 * it was shown) does not count for its member, but may never reach a second one.
 */
export function checkGrants(
  snapshot: LedgerSnapshot,
  messages: readonly DeliveredMessage[] = [],
): Violation[] {
  const found: Violation[] = [];
  const broken = (detail: string) => void found.push({ invariant: 'I3', detail });
  const entries = new Map<string, EntrySnapshot>();
  for (const entry of snapshot.entries) {
    const key = `${entry.campaign}/${entry.memberKey}`;
    const other = entries.get(key);
    if (other !== undefined) broken(`${key}: entries ${other.seq} and ${entry.seq}`);
    entries.set(key, entry);
    if ((entry.status === 'granted') !== (entry.unit !== null))
      broken(`${key}: ${entry.status} with unit ${entry.unit}`);
  }
  checkVouchers(snapshot, messages, broken);
  return found;
}

function checkVouchers(
  snapshot: LedgerSnapshot,
  messages: readonly DeliveredMessage[],
  broken: (detail: string) => void,
): void {
  const voidUnits = new Set(
    snapshot.units.filter((unit) => unit.state === 'void').map((unit) => `${unit.campaign}#${unit.unit}`),
  );
  const unitOf = new Map<string, number>();
  for (const { campaign, unit, voucher } of snapshot.vouchers) {
    const key = `${campaign}/${voucher}`;
    const other = unitOf.get(key);
    if (other !== undefined && other !== unit)
      broken(`${campaign}: one voucher on units ${other} and ${unit}`);
    unitOf.set(key, unit);
  }
  const receiver = new Map<string, string>();
  const live = new Map<string, string>();
  for (const { campaign, memberKey, voucher } of messages) {
    const key = `${campaign}/${voucher}`;
    const first = receiver.get(key);
    if (first !== undefined && first !== memberKey)
      broken(`${campaign}: one voucher reached members ${first} and ${memberKey}`);
    receiver.set(key, memberKey);
    if (voidUnits.has(`${campaign}#${unitOf.get(key)}`)) continue;
    const held = live.get(`${campaign}/${memberKey}`);
    if (held !== undefined && held !== voucher)
      broken(`${campaign}: member ${memberKey} was served two vouchers`);
    live.set(`${campaign}/${memberKey}`, voucher);
  }
}

/** I6: free + reserved + held + issued + void = capacity, none negative, and the counters are what the rows add up to. */
export function checkConservation(snapshot: LedgerSnapshot): Violation[] {
  const found: Violation[] = [];
  const counts = countsByLane(snapshot);
  for (const lane of snapshot.lanes) {
    const broken = (detail: string) =>
      void found.push({ invariant: 'I6', detail: `${laneKey(lane)}: ${detail}` });
    const { free, reserved, held, issued, capacity } = lane;
    const sum = free + reserved + held + issued + lane.void;
    if (sum !== capacity)
      broken(
        `${free} free + ${reserved} reserved + ${held} held + ${issued} issued + ${lane.void} void != ${capacity}`,
      );
    for (const name of ['free', 'reserved', 'held', 'issued', 'void', 'waiting'] as const) {
      if (lane[name] < 0) broken(`${name} is ${lane[name]}`);
    }
    checkCounts(lane, counts.get(laneKey(lane)) ?? noCounts(), broken);
  }
  return found;
}

interface Counts {
  free: number;
  held: number;
  issued: number;
  void: number;
  waiting: number;
}

function noCounts(): Counts {
  return { free: 0, held: 0, issued: 0, void: 0, waiting: 0 };
}

function countsByLane(snapshot: LedgerSnapshot): Map<string, Counts> {
  const all = new Map<string, Counts>();
  const of = (row: { readonly campaign: string; readonly lane: number }): Counts => {
    const key = laneKey(row);
    const counts = all.get(key) ?? noCounts();
    all.set(key, counts);
    return counts;
  };
  for (const unit of snapshot.units)
    of(unit)[unit.state] += unit.state === 'free' && unit.seq === null ? 0 : 1;
  for (const entry of snapshot.entries) if (entry.status === 'waiting') of(entry).waiting++;
  return all;
}

function checkCounts(lane: LaneState, counts: Counts, broken: (detail: string) => void): void {
  for (const name of ['held', 'issued', 'void', 'waiting'] as const) {
    if (lane[name] !== counts[name]) broken(`${name} is ${lane[name]}, the rows say ${counts[name]}`);
  }
  if (lane.returnedUnits.length !== counts.free)
    broken(`${lane.returnedUnits.length} units came back, the rows say ${counts.free}`);
  const given = lane.held + lane.issued + lane.void + lane.returnedUnits.length;
  if (lane.nextUnit - 1 !== given) broken(`the next unit is ${lane.nextUnit} after ${given} given ones`);
}

/** I7: captured money has a confirmed unit or a finished refund, never both. Empty for giveaways. */
export function checkPayments(payments: readonly PaymentSnapshot[]): Violation[] {
  const found: Violation[] = [];
  for (const { campaign, order, captured, unit, refund } of payments) {
    const place = `${campaign}: order ${order}`;
    const settled = unit !== null || refund === 'finished';
    if (captured && !settled)
      found.push({
        invariant: 'I7',
        detail: `${place} is captured without a unit or a finished refund (${refund})`,
      });
    if (unit !== null && refund !== 'none')
      found.push({ invariant: 'I7', detail: `${place} has unit ${unit} and a refund that is ${refund}` });
  }
  return found;
}
