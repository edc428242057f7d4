import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog, systemClock } from '@doorbuster/messaging';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
import { Pool } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { openSqliteLedger } from '../ledgers/sqlite/open.ts';
import { type Fixture, openFixture } from './app-fixture.ts';

let fixture: Fixture;
let folder: string;
afterEach(async () => {
  await fixture.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The real ledger behind its threads, the real bus behind its own, a real port. */
async function serve(): Promise<Pool> {
  folder = mkdtempSync(join(tmpdir(), 'doorbuster-crowd-'));
  fixture = await openFixture({
    // The writer thread has the machine's own clock: the fixture's stands a little behind it, so that what is due here is due there.
    clock: createManualClock(systemClock.now() - 5_000),
    openLedger: ({ master, signingKeys }) =>
      openSqliteLedger({
        dataDir: folder,
        master,
        signingKeys,
        log: silentLog,
        allowVolatile: true,
        fatal: (error) => {
          throw error;
        },
      }),
    engine: createEmbeddedEngine({ path: join(folder, 'bus.sqlite') }),
    config: { limits: { addressBurst: 1_000_000, memberBurst: 1_000 } },
  });
  await fixture.app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = fixture.app.server.address() as AddressInfo;
  return new Pool(`http://127.0.0.1:${port}`, { connections: 64 });
}

interface Told {
  readonly member: number;
  readonly status: number;
  readonly seq: number | undefined;
  readonly verdict: string | undefined;
}

async function enter(pool: Pool, member: number): Promise<Told> {
  const { statusCode, body } = await pool.request({
    method: 'POST',
    path: '/v1/campaigns/gift/entries',
    headers: { ...fixture.bearer('gift', `m${member}`), 'content-type': 'application/json' },
    body: '{}',
  });
  const { seq, verdict } = (await body.json()) as { seq?: number; verdict?: string };
  return { member, status: statusCode, seq, verdict };
}

const members = 2_000;
const units = 50;

describe('a crowd over a real port and the threaded ledger', () => {
  it('direct: exactly the units are given, copies get one answer, all others are told sold-out', async () => {
    const pool = await serve();
    await fixture.campaign('gift', { stock: { capacity: units } });
    const told = await Promise.all(Array.from({ length: members * 2 }, (_, i) => enter(pool, i % members)));
    await pool.close();
    expect(told.filter(({ status }) => status === 201)).toHaveLength(units);
    expect(told.every(({ status }) => [200, 201, 410].includes(status))).toBe(true);
    const winners = new Map<number, Set<number | undefined>>();
    for (const { member, seq, verdict } of told) {
      if (verdict === 'won') winners.set(member, (winners.get(member) ?? new Set()).add(seq));
    }
    expect(winners.size).toBe(units);
    for (const seqs of winners.values()) expect(seqs.size).toBe(1);
    expect((await fixture.ledger.verify()).violations).toEqual([]);
  });

  it('queued: everyone is answered pending or a final word, and the queue gives exactly the units', async () => {
    const pool = await serve();
    await fixture.campaign('gift', { intake: 'queued', stock: { capacity: units } });
    const soldOut = Promise.withResolvers<void>();
    fixture.deps.campaigns.onLane((lane) => lane.soldOutRecordNo !== null && soldOut.resolve());
    const told = await Promise.all(Array.from({ length: members }, (_, i) => enter(pool, i)));
    expect(told.every(({ status }) => [202, 410].includes(status))).toBe(true);
    await soldOut.promise;
    const verdicts = new Map<string, number>();
    for (let member = 0; member < members; member += 1) {
      const verdict = await verdictOf(pool, member);
      verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    }
    await pool.close();
    expect(Object.fromEntries(verdicts)).toEqual({ won: units, 'sold-out': members - units });
    expect((await fixture.ledger.verify()).violations).toEqual([]);
  });
});

/** Asks until it is no longer pending: each answer waits for a round through the server, so the queue moves meanwhile. */
async function verdictOf(pool: Pool, member: number): Promise<string> {
  for (;;) {
    const headers = fixture.bearer('gift', `m${member}`);
    const { body } = await pool.request({ method: 'GET', path: '/v1/campaigns/gift/entries/mine', headers });
    const { verdict } = (await body.json()) as { verdict: string };
    if (verdict !== 'pending') return verdict;
  }
}
