import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { createInterface } from 'node:readline';
import { systemClock } from '@doorbuster/messaging';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { createEmbeddedEngine, createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import { type Fixture, type FixtureOptions, fixtureKeys, openFixture, tester } from '../http/app-fixture.ts';
import { openInProcessLedger } from '../ledgers/sqlite/in-process.ts';
import type { CampaignDefinition } from '../campaign/definition.ts';
import { OperationalError } from '../errors.ts';
import type { AdmissionAnswer } from '../ledger.ts';

let fixture: Fixture;
let folder: string | null = null;
let release = (): void => undefined;
afterEach(async () => {
  release();
  await fixture.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
  folder = null;
});

const config = { limits: { memberBurst: 10_000, addressBurst: 1_000_000 } };
const queued = { intake: 'queued', stock: { capacity: 3 } } as const;

async function open(options: Partial<FixtureOptions> = {}): Promise<void> {
  fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    config,
    ...options,
  });
}

/** Resolves with the answer of the ledger to this member's next entry. */
function decided(memberId: string): Promise<AdmissionAnswer> {
  const memberKey = fixture.deps.vault.memberKey('gift', memberId);
  return new Promise((resolve) => {
    const off = fixture.admission.onDecided('gift', memberKey, (answer) => {
      off();
      resolve(answer);
    });
  });
}
const mine = (memberId: string) =>
  fixture.app.inject({ url: '/v1/campaigns/gift/entries/mine', headers: fixture.bearer('gift', memberId) });

/** A ledger that decides nothing until it is let. */
function held(): { readonly around: NonNullable<FixtureOptions['around']>; readonly letGo: () => void } {
  const gate = Promise.withResolvers<void>();
  release = gate.resolve;
  return {
    letGo: gate.resolve,
    around: (ledger) => ({
      ...ledger,
      admission: {
        ...ledger.admission,
        admit: (id, commands) => gate.promise.then(() => ledger.admission.admit(id, commands)),
      },
    }),
  };
}

/** Moves the clock on, a round through the bus at a time, until it is done. */
async function whileTimePasses<T>(work: Promise<T>): Promise<T> {
  let done = false;
  const finish = (): void => void (done = true);
  work.then(finish, finish);
  while (!done) {
    // What was abandoned comes again after a while. Each step waits for the bus's writer, so what is out is settled long before its lease ends.
    fixture.clock.advance(500);
    await fixture.bus.view();
    await new Promise<void>((resolve) => void setImmediate(resolve));
  }
  return work;
}

describe('queued intake', () => {
  it('answers 202 once published, then the verdict in the order of the queue', async () => {
    const { around, letGo } = held();
    await open({ around });
    await fixture.campaign('gift', queued);
    const verdicts: Promise<AdmissionAnswer>[] = [];
    for (let i = 0; i < 5; i += 1) {
      verdicts.push(decided(`m${i}`));
      const answer = await fixture.enter('gift', `m${i}`);
      expect(answer.statusCode).toBe(202);
      expect(answer.json()).toEqual({ verdict: 'pending', mine: '/v1/campaigns/gift/entries/mine' });
      expect(answer.headers.location).toBe('/v1/campaigns/gift/entries/mine');
    }
    letGo();
    const told = await Promise.all(verdicts);
    expect(told.map(({ decision }) => ('seq' in decision ? decision.seq : decision.verdict))).toEqual([
      1,
      2,
      3,
      'sold-out',
      'sold-out',
    ]);
    expect((await mine('m0')).json()).toMatchObject({ verdict: 'won', seq: 1 });
    const late = await mine('m4');
    expect(late.statusCode).toBe(410);
    expect(late.json()).toMatchObject({ verdict: 'sold-out', receipt: { campaign: 'gift' } });
    expect((await fixture.enter('gift', 'm0')).json()).toMatchObject({
      verdict: 'won',
      seq: 1,
      repeated: true,
    });
  });

  it('while undecided the member is pending, copies are published once, and nobody pending is told sold-out', async () => {
    const { around, letGo } = held();
    await open({ around });
    await fixture.campaign('gift', { ...queued, stock: { capacity: 1 } });
    const [winner, loser] = [decided('m0'), decided('m1')];
    for (const member of ['m0', 'm0', 'm1', 'm0'])
      expect((await fixture.enter('gift', member)).json()).toMatchObject({ verdict: 'pending' });
    expect(fixture.admission.pending()).toBe(2);
    expect((await mine('m1')).json()).toEqual({ verdict: 'pending', final: false });
    letGo();
    expect((await winner).decision.verdict).toBe('won');
    expect((await loser).decision.verdict).toBe('sold-out');
    expect(fixture.admission.pending()).toBe(0);
  });

  it('refuses before the opening, and while paused, rather than keep people waiting', async () => {
    await open();
    const startsAt = fixture.clock.now() + 500;
    await fixture.campaign('gift', { ...queued, startsAt: new Date(startsAt).toISOString() }, false);
    expect((await fixture.enter('gift', 'm0')).json()).toMatchObject({ verdict: 'not-open' });
    fixture.clock.advance(500);
    const verdict = decided('m0');
    expect((await fixture.enter('gift', 'm0')).statusCode).toBe(202);
    expect((await verdict).decision.verdict).toBe('won');
    await fixture.ledger.campaigns.command('gift', { type: 'pause' }, tester);
    expect((await fixture.enter('gift', 'm1')).json()).toMatchObject({ verdict: 'paused' });
  });

  it('goes on by itself when the ledger was busy, in the same order', async () => {
    let busy = 3;
    await open({
      around: (ledger) => ({
        ...ledger,
        admission: {
          ...ledger.admission,
          async admit(id, commands) {
            if (busy-- > 0) throw new OperationalError('LEDGER_BUSY');
            return ledger.admission.admit(id, commands);
          },
        },
      }),
    });
    await fixture.campaign('gift', queued);
    const verdicts = [decided('m0'), decided('m1')];
    await fixture.enter('gift', 'm0');
    await fixture.enter('gift', 'm1');
    const all = await whileTimePasses(Promise.all(verdicts));
    expect(all.map(({ decision }) => 'seq' in decision && decision.seq)).toEqual([1, 2]);
  });

  it('a queue that takes nothing is a 503, and the member is not pending', async () => {
    await open();
    await fixture.campaign('gift', queued);
    await fixture.bus.stop();
    const answer = await fixture.enter('gift', 'm0');
    expect(answer.statusCode).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(fixture.admission.pending()).toBe(0);
  });
});

describe('killed between publish and consume', () => {
  /** A process that publishes entries, says so, and is killed with -9 before anything is consumed. */
  async function publishAndDie(path: string, members: readonly string[]): Promise<void> {
    const code = `
      import { createBus } from '@doorbuster/messaging';
      import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
      import { QueuedIntake } from ${JSON.stringify(import.meta.resolve('./queued.ts'))};
      import { createEntryQueue } from ${JSON.stringify(import.meta.resolve('./entry-queue.ts'))};
      import { entrySubmitted } from ${JSON.stringify(import.meta.resolve('../messages.ts'))};
      import { systemRandomness } from ${JSON.stringify(import.meta.resolve('../randomness.ts'))};
      import { Vault } from ${JSON.stringify(import.meta.resolve('../vault.ts'))};
      const bus = createBus({ engine: createEmbeddedEngine({ path: process.argv[1] }), source: '/test' });
      bus.declare([entrySubmitted]);
      await bus.start();
      const vault = new Vault(new Uint8Array(32).fill(7));
      const randomness = systemRandomness();
      const queue = createEntryQueue(bus);
      await queue.consume(() => new Promise(() => {}));
      const intake = new QueuedIntake({ queue, vault, randomness, onAnswers() {} });
      for (const member of process.argv.slice(2)) {
        const salt = Buffer.from(randomness.bytes(16)).toString('hex');
        await intake.submit('gift', { memberKey: vault.memberKey('gift', member), salt, answers: null, screenedOut: false });
      }
      console.log('published');
      setInterval(() => {}, 1000);
    `;
    const child = spawn(
      process.execPath,
      ['--conditions=doorbuster-source', '--input-type=module', '-e', code, path, ...members],
      {
        cwd: import.meta.dirname,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    expect(line).toBe('published');
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  it('everyone answered pending is admitted after the restart, in order, once, and nobody is refused for good before', async () => {
    folder = mkdtempSync(join(tmpdir(), 'doorbuster-queued-'));
    const path = join(folder, 'bus.sqlite');
    // m0 is there twice: the first life answered, the client came again, and was published again by a second life.
    await publishAndDie(path, ['m0', 'm1', 'm2', 'm3']);
    await publishAndDie(path, ['m0']);
    // They had the machine's clock: this process begins after them.
    const keys = fixtureKeys(createManualClock(systemClock.now()));
    const { around, letGo } = held();
    const campaignThere = async (ledger: Parameters<typeof around>[0]) => {
      const startsAt = new Date(keys.clock.now() + 1_000).toISOString();
      const definition: CampaignDefinition = {
        title: { en: 'x' },
        prize: { en: 'x' },
        startsAt,
        intake: 'queued',
        stock: { capacity: 3 },
        reward: { messengers: ['file'] },
      };
      await ledger.campaigns.create('gift', definition, tester);
      await ledger.campaigns.publish('gift', tester);
      keys.clock.advance(1_000);
      await ledger.campaigns.tick();
    };
    fixture = await openFixture({
      openLedger: async (given) => {
        const ledger = openInProcessLedger(given);
        await campaignThere(ledger);
        return ledger;
      },
      engine: createEmbeddedEngine({ path }),
      config,
      keys,
      around,
    });
    const verdicts = ['m0', 'm1', 'm2', 'm3'].map((member) => decided(member));
    // The process knows of nobody's entry, and so says "pending" to everyone: m3 is in the queue, a stranger may be.
    for (const member of ['m3', 'stranger'])
      expect((await mine(member)).json()).toMatchObject({ verdict: 'pending' });
    letGo();
    const told = await whileTimePasses(Promise.all(verdicts));
    expect(told.map(({ decision }) => ('seq' in decision ? decision.seq : decision.verdict))).toEqual([
      1,
      2,
      3,
      'sold-out',
    ]);
    expect((await mine('m3')).json()).toMatchObject({ verdict: 'sold-out' });
    // Once the old backlog is gone a stranger gets the plain truth again.
    expect((await fixture.enter('gift', 'stranger')).statusCode).not.toBe(201);
    const { lane } = (await fixture.ledger.campaigns.get('gift'))!;
    expect(lane).toMatchObject({ seq: 3, issued: 3 });
    expect((await fixture.ledger.verify()).violations).toEqual([]);
  });
});
