// Workers killed and stopped between every two steps, as real processes: everything is delivered, and nobody has two vouchers.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Child, linesOfFile, startChild, startProvider } from './testing/child.ts';
import { fill, openLedger } from './testing/stage.ts';

const folder = mkdtempSync(join(tmpdir(), 'crashes-'));
const UNITS = 6;
const children: Child[] = [];
const providers: { child: Child }[] = [];
let provider: Awaited<ReturnType<typeof startProvider>>;
let queryable: Awaited<ReturnType<typeof startProvider>>;
beforeAll(async () => {
  provider = await startProvider([]);
  queryable = await startProvider(['--class', 'queryable']);
  providers.push(provider, queryable);
});
afterAll(async () => {
  await Promise.all([...children, ...providers.map(({ child }) => child)].map((child) => child.kill()));
  rmSync(folder, { recursive: true, force: true });
});

interface Message {
  readonly messageId: string;
  readonly contact: { readonly email: string };
  readonly voucher: { readonly code: string };
}

let stages = 0;
/** A ledger of its own for each test, seeded here and then left to the workers. */
async function stage(source: string) {
  const path = join(folder, `${(stages += 1)}.db`);
  const ledger = openLedger(path);
  await fill(ledger, { units: UNITS, source });
  await ledger.close();
  return { path, messages: join(folder, `${stages}.ndjson`) };
}
function worker(at: { path: string; messages: string }, args: readonly string[]): Child {
  const child = startChild('packages/server/src/fulfilment/testing/worker.ts', [
    '--ledger',
    at.path,
    '--messages',
    at.messages,
    ...args,
  ]);
  children.push(child);
  return child;
}
function codesByMember(messages: string): Map<string, Set<string>> {
  const codes = new Map<string, Set<string>>();
  for (const { contact, voucher } of linesOfFile<Message>(messages))
    codes.set(contact.email, (codes.get(contact.email) ?? new Set()).add(voucher.code));
  return codes;
}
async function deliveredAt({ path }: { path: string }): Promise<number> {
  const ledger = openLedger(path);
  const { byState } = await ledger.deliveries.summary('spring');
  await ledger.close();
  return byState.delivered;
}

const points = [
  'claim:after',
  'voucher-requested:after',
  'issue:before',
  'issue:after',
  'voucher-issued:after',
  'message-sending:after',
  'send:after',
  'settle:before',
  'settle:after',
];
/** The idempotent source sees every point; the others those where their class decides. */
const pointsOf: Readonly<Record<string, readonly string[]>> = {
  pool: ['issue:after', 'message-sending:after', 'send:after'],
  idempotent: points,
  queryable: ['voucher-requested:after', 'issue:after', 'voucher-issued:after', 'settle:before'],
};

describe.each([['pool'], ['idempotent'], ['queryable']])('a worker killed with -9 (%s)', (kind) => {
  const chosen = pointsOf[kind]!;
  it.each(chosen)('at %s', async (point) => {
    const at = await stage(kind === 'pool' ? 'pool' : 'acme');
    const { url } = kind === 'queryable' ? queryable : provider;
    const remote = kind === 'pool' ? [] : ['--provider', url, '--class', kind];
    const first = worker(at, [...remote, '--at', point]);
    const [, signal] = (await once(first.process, 'exit')) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');

    const second = worker(at, remote);
    await second.next();
    expect((await second.next())['byState']).toMatchObject({ delivered: UNITS });
    const codes = codesByMember(at.messages);
    expect(codes.size).toBe(UNITS);
    expect([...codes.values()].filter((one) => one.size !== 1)).toEqual([]);
    expect(new Set([...codes.values()].flatMap((one) => [...one])).size).toBe(UNITS);
    // One Message-ID per delivery, however often it was sent.
    expect(new Set(linesOfFile<Message>(at.messages).map(({ messageId }) => messageId)).size).toBe(UNITS);
    expect(await deliveredAt(at)).toBe(UNITS);
  });
});

describe('a worker stopped past its lease', () => {
  it.each(['issue:before', 'voucher-issued:before', 'send:after'])(
    'at %s wakes up to a closed door',
    async (point) => {
      const at = await stage('acme');
      const remote = ['--provider', provider.url];
      const sleeper = worker(at, [...remote, '--at', point, '--signal', 'SIGSTOP']);
      await sleeper.next();
      const other = worker(at, remote);
      await other.next();
      expect((await other.next())['byState']).toMatchObject({ delivered: UNITS });

      sleeper.process.kill('SIGCONT');
      const { lost } = await sleeper.next();
      expect(lost).toBeGreaterThanOrEqual(1);
      const codes = codesByMember(at.messages);
      expect(codes.size).toBe(UNITS);
      expect([...codes.values()].filter((one) => one.size !== 1)).toEqual([]);
    },
  );
});
