/** A real ledger with a campaign whose winners wait for their vouchers: what fulfilment's tests begin with. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { type Clock, silentLog, systemClock } from '@doorbuster/messaging';
import type { CampaignDefinition } from '../../campaign/definition.ts';
import type { Actor, Ledger } from '../../ledger.ts';
import { type InProcessLedger, openInProcessLedger } from '../../ledgers/sqlite/in-process.ts';
import { openSqliteLedger } from '../../ledgers/sqlite/open.ts';
import { systemRandomness } from '../../randomness.ts';
import { Vault } from '../../vault.ts';
import type { Messenger, OutgoingMessage } from '../messenger.ts';
import type { FulfilmentEvent } from '../observer.ts';
import { createFulfilment, type Fulfilment, type FulfilmentParts } from '../workers.ts';

export const master = Buffer.alloc(32, 7);
export const actor: Actor = { kind: 'system', id: 'test' };

function signingKeys() {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return [{ kid: 'test', privateKey, publicKey, validFrom: 0, validUntil: null }];
}

/** As production opens it: a data directory of its own, behind threads. */
export function openServingLedger(dataDir: string): Promise<Ledger> {
  const fatal = (error: Error): never => {
    throw error;
  };
  return openSqliteLedger({
    dataDir,
    master,
    signingKeys: signingKeys(),
    log: silentLog,
    allowVolatile: true,
    fatal,
  });
}

/** `path`: a file that several processes may open in turn; default memory. */
export function openLedger(path = ':memory:', clock: Clock = systemClock): InProcessLedger {
  const db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000');
  return openInProcessLedger({
    master,
    signingKeys: signingKeys(),
    clock,
    randomness: systemRandomness(),
    db,
  });
}

export interface CampaignOptions {
  readonly id?: string;
  readonly units: number;
  readonly members?: number;
  readonly waitlist?: number;
  readonly source?: string;
  readonly messengers?: readonly string[];
  /** Imported codes; default one per unit when the source is the pool. */
  readonly codes?: number;
  readonly email?: (member: number) => string;
}

/** Publishes, opens and lets `members` (default: as many as units) enter; members are numbered from 0, in the order of seq. */
export async function fill(ledger: Ledger, options: CampaignOptions) {
  const id = options.id ?? 'spring';
  const source = options.source ?? 'pool';
  const definition: CampaignDefinition = {
    title: { ko: '봄 이벤트', en: 'Spring' },
    prize: { ko: '커피', en: 'Coffee' },
    startsAt: new Date(systemClock.now() - 1_000).toISOString(),
    stock: { capacity: options.units, waitlistLimit: options.waitlist ?? 0, closeWhenSoldOut: false },
    reward: { voucherSource: source, messengers: [...(options.messengers ?? ['carrier'])] },
  };
  await ledger.campaigns.create(id, definition, actor);
  if (source === 'pool') await importCodes(ledger, id, options.codes ?? options.units);
  await ledger.campaigns.publish(id, actor);
  await ledger.campaigns.tick();
  const keys = Array.from({ length: options.members ?? options.units }, (_, member) =>
    new Vault(master).memberKey(id, `member-${member}`),
  );
  for (const [member, key] of keys.entries()) {
    await ledger.admission.register(
      id,
      key,
      { email: options.email?.(member) ?? `m${member}@example.com` },
      null,
    );
  }
  for (let start = 0; start < keys.length; start += 500) {
    const commands = keys.slice(start, start + 500).map((memberKey) => ({
      memberKey,
      salt: randomBytes(16).toString('hex'),
      answers: null,
      screenedOut: false,
    }));
    await ledger.admission.admit(id, commands);
  }
  return { id, keys };
}

/** Codes `POOL-<from>` and on; appended to what is there. */
export async function importCodes(ledger: Ledger, id: string, count: number, from = 0): Promise<void> {
  const begun = await ledger.imports.begin(id, 'voucher-codes', 'append', actor);
  if (!begun.ok) throw new Error(begun.code);
  for (let start = 0; start < count; start += 1_000) {
    const rows = Array.from({ length: Math.min(1_000, count - start) }, (_, row) => ({
      code: `POOL-${from + start + row}`,
      line: start + row + 1,
    }));
    await ledger.imports.voucherCodes(begun.value, rows);
  }
  await ledger.imports.commit(begun.value);
}

/** The sweep alone finds the work: no doorbell ever comes. */
export const deafBus: FulfilmentParts['bus'] = {
  subscribe: () => ({ started: Promise.resolve(), stop: async () => {} }),
};

export type Given = Partial<FulfilmentParts> & Pick<FulfilmentParts, 'ledger' | 'sources' | 'messengers'>;

/** Workers with short times, and a way to wait for what they do. */
export function staff(given: Given) {
  const events: FulfilmentEvent[] = [];
  const waiting: { done: () => boolean; resolve: () => void }[] = [];
  const fulfilment: Fulfilment = createFulfilment({
    bus: deafBus,
    vault: new Vault(master),
    pageUrl: (id) => `https://shop.example/c/${id}`,
    clock: systemClock,
    randomness: systemRandomness(),
    log: silentLog,
    ...given,
    limits: {
      leaseMs: 3_000,
      sweepMs: 200,
      backoff: { firstMs: 10, maxMs: 80 },
      attemptsPerProvider: 50,
      ...given.limits,
    },
    observe: (event) => {
      events.push(event);
      for (const one of Array.from(waiting)) {
        if (!one.done()) continue;
        waiting.splice(waiting.indexOf(one), 1);
        one.resolve();
      }
    },
  });
  const results = (result: string): number =>
    events.filter((event) => event.event === 'settled' && event.result === result).length;
  return {
    fulfilment,
    events,
    results,
    /** Resolves when so many deliveries have ended in this way. */
    until: (result: string, count: number) =>
      new Promise<void>((resolve) => {
        const done = (): boolean => results(result) >= count;
        if (done()) resolve();
        else waiting.push({ done, resolve });
      }),
    untilEvent: (test: (event: FulfilmentEvent) => boolean) =>
      new Promise<void>((resolve) => {
        if (events.some(test)) resolve();
        else waiting.push({ done: () => events.some(test), resolve });
      }),
  };
}

/** Keeps what it is handed: the members' eyes. */
export function eyes(name = 'carrier') {
  const seen: OutgoingMessage[] = [];
  const messenger: Messenger = {
    name,
    canReach: () => true,
    check: async () => [],
    close: async () => {},
    send: async (message) => {
      seen.push(message);
      return { result: 'sent' };
    },
  };
  const codesByMember = (): Map<string, Set<string>> => {
    const codes = new Map<string, Set<string>>();
    for (const { contact, voucher } of seen)
      codes.set(contact.email!, (codes.get(contact.email!) ?? new Set()).add(voucher.code));
    return codes;
  };
  return { messenger, seen, codesByMember };
}
