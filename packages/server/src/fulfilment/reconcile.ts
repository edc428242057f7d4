/**
 * The double check: compares what the ledger granted with what was delivered, the outbox, the bus and the voucher pool. What has one safe
 * repair is repaired, the rest is reported for a person, with a remedy.
 *
 * The one safe repair is a doorbell rung again: an overdue delivery, or one whose lease has ended, needs nothing but a worker that looks, and
 * a claim decides whether there is anything to do. Everything else (a grant without its delivery, a code given twice) is impossible by
 * the ledger's constraints, so finding it means damage or a defect, and a machine must not paper over that.
 *
 * What messengers keep (a mail server's log, the development file) is not compared: it is not authoritative.
 */
import type { Bus, Clock } from '@doorbuster/messaging';
import type { Ledger, ReconcileFinding } from '../ledger.ts';
import { deliveryRequested } from '../messages.ts';
import type { FulfilmentLog, FulfilmentObserver } from './observer.ts';

export interface ReconciliationParts {
  readonly ledger: Pick<Ledger, 'reconcile'>;
  readonly bus: Pick<Bus, 'view'>;
  readonly clock: Clock;
  readonly log: FulfilmentLog;
  readonly observe?: FulfilmentObserver;
  /** A delivery that could have been claimed for this long is overdue, ms. Default 60,000. */
  readonly overdueMs?: number;
  /** A scheduled run reads whole tables only when the last one that did is this old, ms. Default 900,000. */
  readonly thoroughEveryMs?: number;
}

export interface Finding {
  readonly code: ReconcileFinding['code'] | 'code-given-twice' | 'bus-dead-letters';
  /** `error`: a promise is in danger. `attention`: a person has work. `info`: it mends itself. */
  readonly level: 'error' | 'attention' | 'info';
  readonly campaignId: string | null;
  readonly count: number;
  /** Ids of deliveries, or of units where codes are concerned; at most ten. */
  readonly sample: readonly string[];
  readonly message: string;
  readonly remedy: string;
}

export interface ReconciliationReport {
  /** ISO 8601 */
  readonly at: string;
  readonly ms: number;
  /** Whether all tables were read, or only what is due. */
  readonly thorough: boolean;
  /** False when a finding is an error. */
  readonly ok: boolean;
  readonly repaired: readonly { readonly code: 'doorbell-rung-again'; readonly count: number }[];
  readonly counts: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
}

export interface Reconciliation {
  /** One whole check. Calls that overlap share one run. */
  run(): Promise<ReconciliationReport>;
  /** What is due and the outbox; the whole check when its time has come. For the timer. */
  runScheduled(): Promise<ReconciliationReport>;
}

const words: Readonly<Record<Finding['code'], Pick<Finding, 'level' | 'message' | 'remedy'>>> = {
  'grant-without-delivery': {
    level: 'error',
    message: 'Winners without a delivery.',
    remedy: 'Stop the campaign and run `doorbuster verify`; restore a backup if it fails.',
  },
  'delivered-without-voucher': {
    level: 'error',
    message: 'Delivered, but the ledger holds no voucher.',
    remedy: 'Run `doorbuster verify`; replace the grant with `doorbuster delivery replace`.',
  },
  'code-given-twice': {
    level: 'error',
    message: 'Two units hold the same voucher code.',
    remedy: 'Ask the provider which is valid; replace the other with `doorbuster delivery replace`.',
  },
  'grant-without-code': {
    level: 'attention',
    message: 'Winners whose unit has no imported code.',
    remedy: 'Import more codes, then retry the parked deliveries.',
  },
  parked: {
    level: 'attention',
    message: 'Deliveries wait for a person.',
    remedy: 'See their errors, mend the cause, then `doorbuster delivery retry`.',
  },
  'bus-dead-letters': {
    level: 'attention',
    message: 'Messages of the bus are dead letters.',
    remedy:
      'Read their reasons; redrive or discard them. Deliveries themselves are due in the ledger all the same.',
  },
  'delivery-overdue': {
    level: 'info',
    message: 'Deliveries could have been claimed long ago.',
    remedy: 'Rung again. If it stays: is a provider paused, or no worker running?',
  },
  'lease-ended': {
    level: 'info',
    message: 'Deliveries whose worker is gone.',
    remedy: 'Rung again; the next claim takes them over.',
  },
  'outbox-backlog': {
    level: 'info',
    message: 'Messages not yet published to the bus.',
    remedy: 'If it grows: is the bus within reach?',
  },
};
const RING_LIMIT = 500;
const THOROUGH_EVERY_MS = 900_000;
const CODES_A_READ = 2_000;
const SAMPLE = 10;

export function createReconciliation(parts: ReconciliationParts): Reconciliation {
  /** Issued vouchers per campaign when their codes were last compared: nothing new, nothing to compare. */
  const compared = new Map<string, number>();
  let running: Promise<ReconciliationReport> | null = null;
  let thoroughAt = Number.NEGATIVE_INFINITY;
  const run = (): Promise<ReconciliationReport> => {
    running ??= reconcile(parts, compared).finally(() => {
      running = null;
    });
    thoroughAt = parts.clock.monotonic();
    return running;
  };
  return {
    run,
    runScheduled: () => {
      const due = parts.clock.monotonic() - thoroughAt >= (parts.thoroughEveryMs ?? THOROUGH_EVERY_MS);
      return due ? run() : reconcile(parts, null);
    },
  };
}

/** `compared` null: only what is due. */
async function reconcile(
  parts: ReconciliationParts,
  compared: Map<string, number> | null,
): Promise<ReconciliationReport> {
  const { ledger, clock, log } = parts;
  const startedAt = clock.monotonic();
  const overdueSince = clock.now() - (parts.overdueMs ?? 60_000);
  const looked = await ledger.reconcile.look(overdueSince, compared !== null);
  const raw = [
    ...looked,
    ...(compared ? await repeatedCodes(parts, compared) : []),
    ...(await deadLetters(parts)),
  ];
  const overdue = looked.some(({ code }) => code === 'delivery-overdue' || code === 'lease-ended');
  const backlog = looked.find(({ code }) => code === 'outbox-backlog')?.count ?? 0;
  // With doorbells already waiting to be published, more of them would not be heard sooner.
  const rung =
    overdue && backlog < RING_LIMIT ? await ledger.reconcile.ringAgain(overdueSince, RING_LIMIT) : 0;
  const findings = raw.map((finding) => ({ ...words[finding.code], ...finding }));
  const report = {
    at: new Date(clock.now()).toISOString(),
    ms: Math.round(clock.monotonic() - startedAt),
    thorough: compared !== null,
    ...resultOf(findings, rung),
  };
  parts.observe?.({ event: 'reconciled', repaired: rung, reported: findings.length });
  if (!report.ok)
    log.error(
      { findings: findings.filter(({ level }) => level === 'error') },
      'the double check found what must not be',
    );
  return report;
}

function resultOf(
  findings: readonly Finding[],
  rung: number,
): Pick<ReconciliationReport, 'ok' | 'repaired' | 'counts' | 'findings'> {
  const counts: Record<string, number> = {};
  for (const { code, count } of findings) counts[code] = (counts[code] ?? 0) + count;
  return {
    ok: findings.every(({ level }) => level !== 'error'),
    repaired: rung > 0 ? [{ code: 'doorbell-rung-again', count: rung }] : [],
    counts,
    findings,
  };
}

type RawFinding = Pick<Finding, 'code' | 'campaignId' | 'count' | 'sample'>;

/** Codes come back as blind indexes, never in clear. */
async function repeatedCodes(
  { ledger }: ReconciliationParts,
  compared: Map<string, number>,
): Promise<RawFinding[]> {
  const findings: RawFinding[] = [];
  for (const { campaignId, issued } of await ledger.reconcile.issuedCounts()) {
    if (compared.get(campaignId) === issued) continue;
    const repeated = await repeatedCodesOf(ledger, campaignId);
    if (repeated.length > 0)
      findings.push({
        code: 'code-given-twice',
        campaignId,
        count: repeated.length,
        sample: repeated.slice(0, SAMPLE),
      });
    else compared.set(campaignId, issued);
  }
  return findings;
}

async function repeatedCodesOf(ledger: ReconciliationParts['ledger'], campaignId: string): Promise<string[]> {
  const unitOf = new Map<string, number>();
  const repeated: string[] = [];
  for (let after = 0; ; ) {
    const codes = await ledger.reconcile.issuedCodes(campaignId, after, CODES_A_READ);
    for (const { unit, blind } of codes) {
      const first = unitOf.get(blind);
      if (first === undefined) unitOf.set(blind, unit);
      else repeated.push(`units ${first} and ${unit}`);
    }
    if (codes.length === 0) return repeated;
    after = codes.at(-1)!.unit;
  }
}

async function deadLetters({ bus }: ReconciliationParts): Promise<RawFinding[]> {
  const { channels } = await bus.view();
  const subscriptions = channels
    .filter(({ name }) => name === deliveryRequested.name)
    .flatMap((channel) => channel.subscriptions);
  const count = subscriptions
    .flatMap((subscription) => subscription.deadLetters)
    .reduce((sum, group) => sum + group.count, 0);
  return count === 0 ? [] : [{ code: 'bus-dead-letters', campaignId: null, count, sample: [] }];
}
