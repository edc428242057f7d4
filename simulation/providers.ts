/**
 * The far ends of fulfilment, simulated: voucher providers of three classes and two messengers. They break as real ones do (a refusal, silence with
 * the request done, silence with it lost, silence with it landing late) and keep the books that the auditor reads afterwards: which vouchers
 * they issued, which messages arrived.
 *
 * The `queryable` provider does not dedupe: whoever sends an id twice gets two vouchers. Only a cancelled id is dead.
 */
import type { Messenger, OutgoingMessage, SendResult } from '../packages/server/src/fulfilment/messenger.ts';
import type {
  CancelResult,
  IssueResult,
  QueryResult,
  VoucherRequest,
  VoucherSource,
} from '../packages/server/src/fulfilment/voucher-source.ts';
import type { CallFault } from './fault-kinds.ts';
import type { Seeded } from './seeded.ts';
import type { World } from './world.ts';

export interface IssuedVoucher {
  readonly campaignId: string;
  readonly unit: number;
  readonly transactionId: string;
  readonly code: string;
}
export interface ArrivedMessage {
  readonly campaignId: string;
  readonly deliveryId: string;
  readonly email: string;
  readonly code: string;
  /** Observer's time. */
  readonly at: number;
  /** When it was handed to the messenger. */
  readonly askedAt: number;
}

export const longestFlightMs = 8_000;
type Fate = 'done' | 'refused' | 'silent-done' | 'silent-lost' | 'silent-late';

export class ProviderBooks {
  readonly issued: IssuedVoucher[] = [];
  messages: ArrivedMessage[] = [];
  readonly #byId = new Map<string, IssuedVoucher[]>();
  readonly #cancelled = new Set<string>();
  /** Spans of time whose ledger is gone: what was asked for in them belongs to nobody. */
  readonly #gone: { readonly from: number; readonly to: number }[] = [];
  /** Told of every message before it leaves. */
  onSending: (campaignId: string, seq: number) => void = () => {};

  arrive(message: ArrivedMessage): void {
    const { askedAt } = message;
    if (!this.#gone.some(({ from, to }) => askedAt >= from && askedAt <= to)) this.messages.push(message);
  }

  /** A backup of `since` was put back just now. */
  forgetMessages(since: number, now: number): void {
    this.#gone.push({ from: since, to: now });
    this.messages = this.messages.filter(({ askedAt }) => askedAt < since);
  }

  of(transactionId: string): readonly IssuedVoucher[] {
    return this.#byId.get(transactionId) ?? [];
  }

  issue({ campaignId, unit, transactionId }: VoucherRequest): IssuedVoucher {
    const voucher = { campaignId, unit, transactionId, code: `V-${this.issued.length + 1}` };
    this.issued.push(voucher);
    this.#byId.set(transactionId, [...this.of(transactionId), voucher]);
    return voucher;
  }

  cancel(transactionId: string): void {
    this.#cancelled.add(transactionId);
  }

  isCancelled(transactionId: string): boolean {
    return this.#cancelled.has(transactionId);
  }
}

export function simulatedSource(
  world: World,
  books: ProviderBooks,
  sourceClass: 'idempotent' | 'queryable' | 'neither',
  random: Seeded,
): VoucherSource {
  /** Null: the id is dead. */
  const land = (request: VoucherRequest): IssuedVoucher | null => {
    if (books.isCancelled(request.transactionId)) return null;
    const earlier = books.of(request.transactionId)[0];
    const voucher = sourceClass === 'idempotent' && earlier ? earlier : books.issue(request);
    world.note('provider issued', request.campaignId, request.unit, voucher.code);
    return voucher;
  };
  const ask = async <T>(request: VoucherRequest, answer: () => T): Promise<T | 'silence'> => {
    await world.delay(random.integer(2, 60));
    if (fateOf(world, random, 'provider-time-out', null) !== 'done') return silence(request.signal);
    return answer();
  };
  const source: VoucherSource = {
    name: sourceClass,
    sourceClass,
    longestFlightMs,
    async issue(request): Promise<IssueResult> {
      const fate = fateOf(world, random, 'provider-time-out', 'provider-refusal');
      await world.delay(random.integer(2, 80));
      if (fate === 'refused')
        return { result: 'refused', errorCode: 'busy', detail: 'try later', permanent: false };
      if (fate === 'silent-late')
        world.after(random.integer(100, longestFlightMs - 500), () => void land(request));
      const voucher = fate === 'done' || fate === 'silent-done' ? land(request) : null;
      if (fate !== 'done') {
        await silence(request.signal);
        return { result: 'unknown', errorCode: 'timeout', detail: 'no answer' };
      }
      if (voucher === null)
        return { result: 'refused', errorCode: 'dead-id', detail: 'cancelled', permanent: false };
      return { result: 'issued', voucher: { code: voucher.code } };
    },
    check: async () => [],
  };
  // Of a source of class `neither` nothing can be asked and nothing cancelled.
  if (sourceClass === 'neither') return source;
  return {
    ...source,
    async query(request): Promise<QueryResult> {
      const found = await ask(request, () => books.of(request.transactionId)[0]);
      if (found === 'silence') return { result: 'unknown', detail: 'no answer' };
      if (found) return { result: 'issued', voucher: { code: found.code } };
      return { result: books.isCancelled(request.transactionId) ? 'cancelled' : 'not-found' };
    },
    async cancel(request): Promise<CancelResult> {
      const found = await ask(request, () => {
        const issued = books.of(request.transactionId)[0];
        if (!issued) books.cancel(request.transactionId);
        return issued;
      });
      if (found === 'silence') return { result: 'unknown', detail: 'no answer' };
      return found ? { result: 'issued', voucher: { code: found.code } } : { result: 'cancelled' };
    },
  };
}

export function simulatedMessenger(
  world: World,
  books: ProviderBooks,
  name: 'mail' | 'sms',
  random: Seeded,
): Messenger {
  const arrive = ({ campaignId, deliveryId, contact, voucher }: OutgoingMessage, askedAt: number): void => {
    const email = contact.email ?? '';
    books.arrive({ campaignId, deliveryId, email, code: voucher.code, at: world.now, askedAt });
    world.note('message', name, deliveryId, email, voucher.code);
  };
  return {
    name,
    canReach: ({ email }) => email !== undefined,
    async send(message): Promise<SendResult> {
      const askedAt = world.now;
      books.onSending(message.campaignId, seqOf(message.deliveryId));
      const fate = fateOf(world, random, 'messenger-time-out', 'messenger-refusal');
      await world.delay(random.integer(2, 80));
      if (fate === 'refused')
        return { result: 'refused', errorCode: 'greylisted', detail: 'try later', permanent: false };
      if (fate === 'done' || fate === 'silent-done') arrive(message, askedAt);
      if (fate === 'silent-late')
        world.after(random.integer(100, longestFlightMs), () => arrive(message, askedAt));
      if (fate === 'done') return { result: 'sent' };
      await silence(message.signal);
      return { result: 'unknown', errorCode: 'timeout', detail: 'no answer' };
    },
    check: async () => [],
    close: async () => {},
  };
}

/** `<campaign>.<seq>.<unit>` */
function seqOf(deliveryId: string): number {
  return Number(deliveryId.split('.').at(-2));
}

function fateOf(world: World, random: Seeded, silent: CallFault, refusal: CallFault | null): Fate {
  if (refusal !== null && world.isOut(refusal) && random.chance(0.9)) {
    world.fault(refusal, 'outage');
    return 'refused';
  }
  const drawn = random.share();
  const refused = refusal === null ? 0 : world.storm(refusal) * 0.4;
  if (refusal !== null && drawn < refused) {
    world.fault(refusal);
    return 'refused';
  }
  if (drawn >= refused + world.storm(silent) * 0.8) return 'done';
  const fate = random.pick(['silent-done', 'silent-lost', 'silent-late'] as const);
  world.fault(silent, fate);
  return fate;
}

/** Resolves when the caller has given up. */
function silence(signal: AbortSignal): Promise<'silence'> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve('silence');
    else signal.addEventListener('abort', () => resolve('silence'), { once: true });
  });
}
