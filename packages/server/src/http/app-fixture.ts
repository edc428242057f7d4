/**
 * The whole HTTP application over a given ledger and bus engine, for tests: real admission, real sessions, real tokens, only the clock stands still
 * until it is told to move. The ledger is the caller's, because only tests and `main.ts` name engines.
 */
import { createSecretKey, generateKeyPairSync } from 'node:crypto';
import { createBus, type Bus, type Engine } from '@doorbuster/messaging';
import { createManualClock, type ManualClock } from '@doorbuster/messaging/conformance';
import type { FastifyInstance, FastifyPluginAsync, InjectOptions, LightMyRequestResponse } from 'fastify';
import { SignJWT } from 'jose';
import { pino } from 'pino';
import { createAdmission, type RunningAdmission } from '../admission/create-admission.ts';
import { createEntryQueue } from '../admission/entry-queue.ts';
import { createMemoryTurnstile } from '../admission/turnstile.ts';
import { publicKeySet } from '../audit/keys.ts';
import type { CampaignDefinition } from '../campaign/definition.ts';
import { loadConfig } from '../config.ts';
import type { Actor, Ledger } from '../ledger.ts';
import { createCampaignBook } from '../live/campaign-book.ts';
import { createLive } from '../live/live.ts';
import { createMetrics } from '../live/metrics.ts';
import { deliveryRequested, entrySubmitted } from '../messages.ts';
import { type Randomness, systemRandomness } from '../randomness.ts';
import type { SigningKey } from '../secrets.ts';
import { Vault } from '../vault.ts';
import { createApp } from './app.ts';
import { createSessions } from './auth/sessions.ts';
import { createTokenChecks } from './auth/tokens.ts';
import type { HttpDeps } from './deps.ts';

export const tester: Actor = { kind: 'system', id: 'test' };
export const sharedSecret = 'a shared secret of at least 32 bytes';

/** What a test's ledger is opened with. */
export interface FixtureKeys {
  readonly master: Uint8Array;
  readonly signingKeys: readonly SigningKey[];
  readonly clock: ManualClock;
  readonly randomness: Randomness;
}

export interface FixtureOptions {
  readonly openLedger: (keys: FixtureKeys) => Ledger | Promise<Ledger>;
  readonly engine: Engine;
  /** Parts of the configuration that differ from the default. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly rooms?: (deps: HttpDeps) => readonly FastifyPluginAsync[];
  readonly clock?: ManualClock;
  /** Keep these to open the same data again. */
  readonly keys?: FixtureKeys;
  /** False: no short way in front of the router. It serves a listening server only, never `inject`. */
  readonly fastEntries?: boolean;
  /** Put between admission and the ledger: delays, failures, defects. */
  readonly around?: (ledger: Ledger) => Ledger;
}

export interface Fixture {
  readonly app: FastifyInstance;
  readonly deps: HttpDeps;
  readonly keys: FixtureKeys;
  readonly ledger: Ledger;
  readonly bus: Bus;
  readonly admission: RunningAdmission;
  readonly clock: ManualClock;
  /** A token as the shop signs it. */
  token(memberId: string, claims?: Readonly<Record<string, unknown>>): Promise<string>;
  /** The bearer header of a member's session, without the hand-off. */
  bearer(campaignId: string, memberId: string): { readonly authorization: string };
  /** Creates, publishes and opens a campaign: it starts a second from now unless the definition says so. */
  campaign(id: string, definition?: Partial<CampaignDefinition>, open?: boolean): Promise<void>;
  enter(
    campaignId: string,
    memberId: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<LightMyRequestResponse>;
  /** Everything down as in an orderly stop. */
  close(): Promise<void>;
}

export function fixtureKeys(clock: ManualClock = createManualClock(Date.UTC(2026, 10, 1))): FixtureKeys {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const signingKeys = [{ kid: 'k1', privateKey, publicKey, validFrom: clock.now(), validUntil: null }];
  return { master: new Uint8Array(32).fill(7), signingKeys, clock, randomness: systemRandomness() };
}

export async function openFixture(options: FixtureOptions): Promise<Fixture> {
  const keys = options.keys ?? fixtureKeys(options.clock);
  const opened = await options.openLedger(keys);
  const deps = await depsOn(options.around ? options.around(opened) : opened, options, keys);
  const { rooms, fastEntries = true } = options;
  const app = await createApp(deps, { rooms: rooms?.(deps) ?? [], fastEntries });
  await app.ready();
  return new RunningFixture(app, deps, keys, opened);
}

interface FixtureDeps extends HttpDeps {
  readonly admission: RunningAdmission;
  readonly bus: Bus;
}

async function depsOn(
  ledger: Ledger,
  options: FixtureOptions,
  { clock, randomness, master, signingKeys }: FixtureKeys,
): Promise<FixtureDeps> {
  const config = loadConfig({ environment: {}, flags: options.config ?? {} });
  const vault = new Vault(master);
  const metrics = createMetrics();
  const campaigns = createCampaignBook(ledger.campaigns, clock);
  const { limits } = config;
  const turnstile = createMemoryTurnstile(clock, {
    address: { perSecond: limits.addressPerSecond, burst: limits.addressBurst },
    member: { perSecond: limits.memberPerSecond, burst: limits.memberBurst },
  });
  const bus = createBus({ engine: options.engine, source: '/test', clock });
  bus.declare([deliveryRequested, entrySubmitted]);
  await bus.start();
  const waitingEntries = limits.waitingEntries;
  const queue = createEntryQueue(bus);
  const admission = createAdmission({
    ledger: ledger.admission,
    campaigns,
    turnstile,
    queue,
    vault,
    clock,
    randomness,
    metrics,
    waitingEntries,
  });
  await admission.start([]);
  return {
    ledger,
    admission,
    bus,
    turnstile,
    campaigns,
    live: createLive(campaigns, clock),
    metrics,
    vault,
    sessions: createSessions([{ kid: 's1', key: new Uint8Array(32).fill(3) }], config.sessionMinutes, clock),
    tokens: createTokenChecks({
      tokens: config.tokens,
      limit: limits.tokenChecks,
      sharedSecret,
      jwks: null,
      vault,
      clock,
    }),
    evidence: { keys: () => publicKeySet(signingKeys), checkpoint: async () => null },
    preflight: async () => [],
    clock,
    randomness,
    config,
    log: pino({ level: 'silent' }),
  };
}

class RunningFixture implements Fixture {
  readonly app: FastifyInstance;
  readonly deps: FixtureDeps;
  readonly keys: FixtureKeys;
  readonly ledger: Ledger;

  constructor(app: FastifyInstance, deps: FixtureDeps, keys: FixtureKeys, ledger: Ledger) {
    this.app = app;
    this.deps = deps;
    this.keys = keys;
    this.ledger = ledger;
  }

  get bus(): Bus {
    return this.deps.bus;
  }
  get admission(): RunningAdmission {
    return this.deps.admission;
  }
  get clock(): ManualClock {
    return this.keys.clock;
  }

  async token(memberId: string, claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const now = Math.floor(this.clock.now() / 1000);
    return new SignJWT({ sub: memberId, aud: 'doorbuster', iat: now, exp: now + 600, ...claims })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(createSecretKey(sharedSecret, 'utf8'));
  }

  bearer(campaignId: string, memberId: string): { readonly authorization: string } {
    const { session } = this.deps.sessions.issue(campaignId, this.deps.vault.memberKey(campaignId, memberId));
    return { authorization: `Bearer ${session}` };
  }

  async campaign(id: string, definition: Partial<CampaignDefinition> = {}, open = true): Promise<void> {
    const whole: CampaignDefinition = {
      title: { ko: '봄 선물', en: 'Spring gift' },
      prize: { ko: '교환권', en: 'A voucher' },
      startsAt: new Date(this.clock.now() + 1_000).toISOString(),
      stock: { capacity: 3 },
      reward: { messengers: ['file'] },
      ...definition,
    };
    const { campaigns } = this.ledger;
    const created = await campaigns.create(id, whole, tester);
    const published = created.ok ? await campaigns.publish(id, tester) : created;
    if (!published.ok) throw new Error(`no campaign ${id}: ${published.code}`);
    if (!open) return;
    this.clock.advance(Math.max(0, Date.parse(whole.startsAt) - this.clock.now()));
    await campaigns.tick();
  }

  enter(
    campaignId: string,
    memberId: string,
    body: unknown = {},
    headers: Readonly<Record<string, string>> = {},
  ): Promise<LightMyRequestResponse> {
    const request: InjectOptions = {
      method: 'POST',
      url: `/v1/campaigns/${campaignId}/entries`,
      headers: { ...this.bearer(campaignId, memberId), 'content-type': 'application/json', ...headers },
      payload: JSON.stringify(body),
    };
    return this.app.inject(request);
  }

  async close(): Promise<void> {
    this.app.doorbuster.draining = true;
    const closed = this.app.close();
    await this.deps.admission.drain();
    this.deps.live.close();
    await closed;
    await this.deps.bus.stop({ drainMs: 0 });
    this.deps.campaigns.close();
    await this.ledger.close();
  }
}
