/**
 * Negative controls: defects planted in the ports around the production code, never in it. Each must be caught within a few seeds, or the
 * simulation proves nothing. A defect of a rule inside the store needs a build of its own and is not here.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '@doorbuster/messaging';
import type { EntryQueue } from '../packages/server/src/admission/queued.ts';
import type { Messenger } from '../packages/server/src/fulfilment/messenger.ts';
import type { VoucherSource } from '../packages/server/src/fulfilment/voucher-source.ts';
import type {
  AdmissionAnswer,
  AdmissionCommand,
  AdmissionLedger,
  DeliveryLedger,
  Ledger,
} from '../packages/server/src/ledger.ts';
import type { Vault } from '../packages/server/src/vault.ts';
import { Disk, type FileName } from './disk.ts';

type TransactionIds = Pick<Vault, 'transactionId'>;

/** What may be put around each port. A new one is made for every seed. */
export interface Defect {
  readonly disk: Disk;
  /** How long a worker believes in its claim, ms. */
  readonly trustedLeaseMs: number;
  ledgerClock(clock: Clock): Clock;
  ledger(ledger: Ledger): Ledger;
  deliveries(deliveries: DeliveryLedger): DeliveryLedger;
  transactionIds(vault: TransactionIds): TransactionIds;
  source(source: VoucherSource): VoucherSource;
  messenger(messenger: Messenger): Messenger;
  queue(queue: EntryQueue): EntryQueue;
}

/** Longer than a provider's call with its time-out, short enough to end within a run. */
const leaseMs = 20_000;

export function noDefect(): Defect {
  const same = <T>(port: T): T => port;
  return {
    disk: new Disk(),
    trustedLeaseMs: leaseMs,
    ledgerClock: same,
    ledger: same,
    deliveries: same,
    transactionIds: same,
    source: same,
    messenger: same,
    queue: same,
  };
}

export const defects = {
  'acknowledge-before-commit': () => ({ ...noDefect(), disk: new LaggingLedger() }),
  'confirm-before-commit': () => ({ ...noDefect(), disk: new ForgetfulBus() }),
  'lease-without-fence': () => ({ ...noDefect(), deliveries: withoutFence, trustedLeaseMs: 600_000 }),
  'provider-id-per-attempt': () => ({ ...noDefect(), transactionIds: idPerAttempt }),
  'retry-takes-a-new-seq': () => ({ ...noDefect(), ledger: admissionThrough(newMemberEachTime()) }),
  'sold-out-from-a-stale-count': () => ({ ...noDefect(), ledger: admissionThrough(staleSoldOut()) }),
  'unknown-taken-for-refused': () => ({ ...noDefect(), source: unknownIsRefused }),
  'not-found-trusted-without-cancel': () => ({ ...noDefect(), source: cancelUnsent }),
  'opens-by-the-wall-clock-alone': () => ({ ...noDefect(), ledgerClock: wallClockAlone }),
  'unknown-sending-repeated-for-ever': () => ({ ...noDefect(), messenger: sendingIsRefused }),
  'voucher-shown-before-it-is-marked': () => ({ ...noDefect(), deliveries: showsUnmarked }),
} as const satisfies Readonly<Record<string, () => Defect>>;

export type DefectName = keyof typeof defects;

export function isDefectName(name: string): name is DefectName {
  return Object.hasOwn(defects, name);
}

/** Says that a transaction is on the disk one transaction too early. */
class LaggingLedger extends Disk {
  #before: Uint8Array | null = null;
  #db: DatabaseSync | null = null;

  override open(name: FileName): DatabaseSync {
    const db = super.open(name);
    if (name === 'ledger') {
      this.#db = db;
      this.#before = null;
    }
    return db;
  }

  override beforeCommit(name: FileName): void {
    if (name === 'ledger' && this.#db !== null) this.#before = this.#db.serialize();
  }

  protected override surviving(name: FileName, db: DatabaseSync): Uint8Array {
    return (name === 'ledger' ? this.#before : null) ?? super.surviving(name, db);
  }
}

/** Confirms what only its memory holds: after a crash the queue is as it was at the start. */
class ForgetfulBus extends Disk {
  #atStart = new Uint8Array();

  override open(name: FileName): DatabaseSync {
    const db = super.open(name);
    if (name === 'bus') this.#atStart = db.serialize() as Uint8Array<ArrayBuffer>;
    return db;
  }

  protected override surviving(name: FileName, db: DatabaseSync): Uint8Array {
    return name === 'bus' ? this.#atStart : super.surviving(name, db);
  }
}

/** A worker whose claim is no longer its own goes on as if it were. */
function withoutFence(deliveries: DeliveryLedger): DeliveryLedger {
  return {
    ...deliveries,
    claim: (deliveryId) => deliveries.claim(deliveryId, leaseMs),
    progress: async (...args) => (await deliveries.progress(...args)) || true,
    settle: async (...args) => (await deliveries.settle(...args)) || true,
  };
}

function idPerAttempt(vault: TransactionIds): TransactionIds {
  let attempt = 0;
  return { transactionId: (...unit) => `${vault.transactionId(...unit)}-${++attempt}` };
}

function unknownIsRefused(source: VoucherSource): VoucherSource {
  return {
    ...source,
    issue: async (request) => {
      const answer = await source.issue(request);
      return answer.result === 'unknown' ? { ...answer, result: 'refused', permanent: false } : answer;
    },
  };
}

function cancelUnsent(source: VoucherSource): VoucherSource {
  return source.sourceClass === 'queryable'
    ? { ...source, longestFlightMs: 0, cancel: async () => ({ result: 'cancelled' }) }
    : source;
}

function sendingIsRefused(messenger: Messenger): Messenger {
  return {
    ...messenger,
    send: async (message) => {
      const answer = await messenger.send(message);
      return answer.result === 'unknown' ? { ...answer, result: 'refused', permanent: false } : answer;
    },
  };
}

function showsUnmarked(deliveries: DeliveryLedger): DeliveryLedger {
  return {
    ...deliveries,
    progress: async (deliveryId, fence, step) =>
      step.step === 'message-sending' || deliveries.progress(deliveryId, fence, step),
  };
}

/** Both clocks step together, so that neither can contradict the other. */
function wallClockAlone(clock: Clock): Clock {
  return { ...clock, now: () => clock.now(), monotonic: () => clock.now() };
}

type Admit = AdmissionLedger['admit'];

function admissionThrough(around: (admit: Admit) => Admit): (ledger: Ledger) => Ledger {
  return (ledger) => ({
    ...ledger,
    admission: { ...ledger.admission, admit: around((...args) => ledger.admission.admit(...args)) },
  });
}

/** The member is no longer the key: each request counts as somebody new. */
function newMemberEachTime(): (admit: Admit) => Admit {
  const asked = new Map<string, number>();
  const renamed = (command: AdmissionCommand): AdmissionCommand => {
    const times = asked.get(command.memberKey) ?? 0;
    asked.set(command.memberKey, times + 1);
    const last = Number.parseInt(command.memberKey.slice(-2), 16);
    const other = `${command.memberKey.slice(0, -2)}${((last + times) % 256).toString(16).padStart(2, '0')}`;
    return { ...command, memberKey: other };
  };
  return (admit) => (campaignId, commands) => admit(campaignId, commands.map(renamed));
}

/** Once sold out, sold out for ever: a release or a top-up is not seen. */
function staleSoldOut(): (admit: Admit) => Admit {
  const seen = new Map<string, AdmissionAnswer>();
  const inside = new Set<string>();
  return (admit) => async (campaignId, commands) => {
    const stale = seen.get(campaignId);
    const real = await admit(
      campaignId,
      commands.filter(({ memberKey }) => stale === undefined || inside.has(memberKey)),
    );
    const answers = [...real];
    return commands.map((command) => {
      if (stale !== undefined && !inside.has(command.memberKey)) return stale;
      const answer = answers.shift() as AdmissionAnswer;
      if (answer.decision.verdict === 'sold-out') seen.set(campaignId, answer);
      if ('repeated' in answer.decision) inside.add(command.memberKey);
      return answer;
    });
  };
}
