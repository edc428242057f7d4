/**
 * Composition: the one file that names engines. It reads what the configuration chose, opens ledger and bus, starts fulfilment and HTTP, and stops
 * them. Nothing here decides anything about entries, vouchers or requests.
 *
 *   start: what the configuration names -> secrets -> lock and ledger -> fulfilment -> bus -> relay -> admission -> timekeeper and jobs -> listen
 *   stop:  readyz 503 -> stop listening -> admission drains -> timekeeper and jobs -> fulfilment drains -> relay -> bus -> ledger and lock
 */
import { existsSync, readFileSync, statSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { type Bus, type Clock, createBus, createRelay, systemClock } from '@doorbuster/messaging';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
import { createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { type Logger, pino } from 'pino';
import { createAdmission } from './admission/create-admission.ts';
import { createEntryQueue } from './admission/entry-queue.ts';
import { createMemoryTurnstile } from './admission/turnstile.ts';
import { createEvidence } from './audit/evidence.ts';
import { requireWitnessedBus, witnessBus } from './bus-witness.ts';
import { createPreflight } from './campaign/preflight.ts';
import { startTimekeeper, type Timekeeper } from './campaign/timekeeper.ts';
import { type Config, resolveSecret } from './config.ts';
import { OperationalError } from './errors.ts';
import type { Messenger } from './fulfilment/messenger.ts';
import { createFileMessenger } from './fulfilment/messengers/file.ts';
import { createSmtpMessenger } from './fulfilment/messengers/smtp.ts';
import { createWebhookMessenger } from './fulfilment/messengers/webhook.ts';
import type { MessengerSetting, SourceSetting } from './fulfilment/providers.ts';
import { createReconciliation } from './fulfilment/reconcile.ts';
import { createHttpIdempotentSource } from './fulfilment/voucher-sources/http-idempotent.ts';
import { createHttpQueryableSource } from './fulfilment/voucher-sources/http-queryable.ts';
import { createPoolSource } from './fulfilment/voucher-sources/pool.ts';
import { createFulfilment } from './fulfilment/workers.ts';
import { createApiKey } from './http/access/api-keys.ts';
import { createApp, type TlsFiles } from './http/app.ts';
import { createSessions } from './http/auth/sessions.ts';
import { createTokenChecks } from './http/auth/tokens.ts';
import type { HttpDeps } from './http/deps.ts';
import { operatorRoutes } from './http/operator/routes.ts';
import type { Ledger, VerifyReport } from './ledger.ts';
import { openSqliteLedger, type SqliteLedger } from './ledgers/sqlite/open.ts';
import { createCampaignBook } from './live/campaign-book.ts';
import { addCampaignGauges } from './live/campaign-gauges.ts';
import { type Crowd, createCrowd } from './live/crowd.ts';
import { countFulfilment } from './live/fulfilment-counters.ts';
import { createLive } from './live/live.ts';
import { createMetrics, type Metrics } from './live/metrics.ts';
import { makeDirectory } from './make-directory.ts';
import { deliveryRequested, entrySubmitted } from './messages.ts';
import { busPath, ledgerPath, operatorKeyPath, secretsPath } from './paths.ts';
import { type PeriodicJob, startPeriodic } from './periodic.ts';
import { type Randomness, systemRandomness } from './randomness.ts';
import { startRetention } from './retention.ts';
import { openSecrets, type Secrets } from './secrets.ts';
import { Vault } from './vault.ts';

/** Between two batches of the outbox while a crowd is at the door: ten publications and marks a second instead of one for each batch of entries. */
const RELAY_REST_MS = 100;

type Environment = Readonly<Record<string, string | undefined>>;

export interface RunningServer {
  /** `publicUrl` where there is one. */
  readonly url: string;
  /** Where this machine reaches it. */
  readonly localUrl: string;
  /** What was made at the first run; null later. */
  readonly firstRun: {
    readonly secretsFile: string;
    readonly operatorKeyFile: string;
    readonly operatorKey: string;
  } | null;
  /** Drains and stops. What was acknowledged is durable whether this ends well or not. */
  close(): Promise<void>;
}

export interface StartOptions {
  /** Start with an empty queue where the one of the last start is gone. Said once, by a person: no setting. */
  readonly acceptLostQueue?: boolean;
}

export async function startServer(
  config: Config,
  environment: Environment,
  { acceptLostQueue = false }: StartOptions = {},
): Promise<RunningServer> {
  const log = pino(
    { level: config.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination(2),
  );
  const outside = readOutside(config, environment);
  const dataDir = resolve(config.dataDir);
  makeDataDir(dataDir);
  if (requireWitnessedBus(dataDir, acceptLostQueue))
    log.warn('the queue of the last start is gone; an empty one is made, as asked');
  const { secrets, created } = openSecrets(
    secretsPath(config),
    systemClock.now(),
    !existsSync(ledgerPath(dataDir)),
  );
  const parts = await assemble(config, outside, secrets, log);
  try {
    const operatorKey = await firstOperatorKey(parts.ledger, dataDir);
    const url = await listen(parts, config);
    log.info({ url }, 'listening');
    const firstRun =
      created && operatorKey
        ? { secretsFile: secretsPath(config), operatorKeyFile: operatorKeyPath(dataDir), operatorKey }
        : null;
    return { url: config.publicUrl ?? url, localUrl: url, firstRun, close: () => stop(parts, config) };
  } catch (error) {
    await stop(parts, config);
    throw error;
  }
}

/** What the configuration names outside itself: files and variables. */
interface Outside {
  readonly messengers: readonly MessengerSetting[];
  readonly remoteSources: readonly SourceSetting[];
  /** Null: the one of the secrets file. */
  readonly tokenSecret: string | null;
  readonly jwks: JSONWebKeySet | null;
  readonly tls: TlsFiles | null;
}

/** Throws CONFIG_INVALID. Comes before anything is made or opened: a variable that is not set leaves no trace. */
function readOutside(config: Config, environment: Environment): Outside {
  const { sharedSecret, jwksFile } = config.tokens;
  return {
    messengers: messengerSettings(config, environment),
    remoteSources: remoteSourceSettings(config, environment),
    tokenSecret: sharedSecret ? resolveSecret(sharedSecret, environment) : null,
    jwks: jwksFile ? readJwks(jwksFile) : null,
    tls: config.tls ? readTls(config.tls) : null,
  };
}

/** What every part is made of. */
interface Ground {
  readonly config: Config;
  readonly outside: Outside;
  readonly secrets: Secrets;
  readonly log: Logger;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly vault: Vault;
  readonly metrics: Metrics;
  readonly ledger: SqliteLedger;
  /** The url is known once the server listens. */
  readonly address: { url: string };
}

type Parts = Awaited<ReturnType<typeof assemble>>;

/** Opens the ledger and makes every other part; starts none. What cannot be made closes the ledger, or its thread would keep the process. */
async function assemble(config: Config, outside: Outside, secrets: Secrets, log: Logger) {
  const ledger = await openLedger(config, secrets, log);
  try {
    return await compose({
      config,
      outside,
      secrets,
      log,
      clock: systemClock,
      randomness: systemRandomness(),
      vault: new Vault(secrets.master),
      metrics: createMetrics({ processMetrics: true }),
      ledger,
      address: { url: '' },
    });
  } catch (error) {
    await ledger.close();
    throw error;
  }
}

/** The parts in the order of the flow. */
async function compose(ground: Ground) {
  const { clock, ledger, log } = ground;
  const bus = makeBus(ground);
  const intake = makeIntake(ground, bus);
  const crowd = crowdOf(intake, clock);
  const restMs = (): number => (crowd.isHere() ? RELAY_REST_MS : 0);
  const relay = createRelay({ source: ledger.outbox, bus, clock, log, restMs });
  const delivery = makeDelivery(ground, bus, crowd);
  const deps = makeDeps(ground, intake, delivery);
  addCampaignGauges(ground.metrics, {
    ...intake,
    tokens: deps.tokens,
    deliveries: ledger.deliveries,
    halted: () => ledger.halted().map(({ campaignId }) => campaignId),
    clock,
  });
  const { tls } = ground.outside;
  const app = await createApp(deps, { rooms: [operatorRoutes(deps)], ...(tls ? { tls } : {}) });
  return {
    ...ground,
    bus,
    relay,
    ...intake,
    ...delivery,
    deps,
    app,
    jobs: [] as PeriodicJob[],
    timekeeper: null as Timekeeper | null,
  };
}

function makeBus({ config, clock, log }: Ground): Bus {
  const bus = createBus({
    engine: createEmbeddedEngine({ path: busPath(config.dataDir) }),
    source: '/doorbuster',
    clock,
    log,
    onFatal: (error) => endAtOnce(log, error),
  });
  bus.declare([deliveryRequested, entrySubmitted]);
  return bus;
}

/** From a request to a commit: what the process knows of campaigns, what sheds, and admission. */
function makeIntake({ config, ledger, vault, clock, randomness, metrics }: Ground, bus: Bus) {
  const { addressPerSecond, addressBurst, memberPerSecond, memberBurst, waitingEntries } = config.limits;
  const campaigns = createCampaignBook(ledger.campaigns, clock);
  const turnstile = createMemoryTurnstile(clock, {
    address: { perSecond: addressPerSecond, burst: addressBurst },
    member: { perSecond: memberPerSecond, burst: memberBurst },
  });
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
  return { campaigns, turnstile, queue, admission };
}

/** What fulfilment and the relay give way to. */
function crowdOf({ admission }: Pick<ReturnType<typeof makeIntake>, 'admission'>, clock: Clock): Crowd {
  const waiting = (): number => [...admission.waiting()].reduce((sum, [, count]) => sum + count, 0);
  return createCrowd({ clock, asked: () => admission.asked(), waiting });
}

/** From a commit to the member: fulfilment, its double check, and the pre-flight that asks the same providers. */
function makeDelivery(ground: Ground, bus: Bus, crowd: Crowd) {
  const { config, outside, ledger, vault, clock, randomness, log, address } = ground;
  const { messengers } = outside;
  const sources = [{ source: createPoolSource(ledger) }, ...outside.remoteSources];
  const observe = countFulfilment(ground.metrics);
  const fulfilment = createFulfilment({
    ledger,
    bus,
    vault,
    sources,
    messengers,
    pageUrl: (campaignId) => `${config.publicUrl ?? address.url}/c/${campaignId}`,
    clock,
    randomness,
    log,
    observe,
    crowd,
    limits: {
      concurrency: config.delivery.workers,
      leaseMs: config.delivery.leaseMs,
      attemptsPerProvider: config.delivery.maxAttempts,
      backoff: { firstMs: config.delivery.firstRetryMs, maxMs: config.delivery.maxRetryMs },
    },
  });
  const reconciliation = createReconciliation({ ledger, bus, clock, log, observe });
  const preflight = createPreflight({
    ledger,
    sources: sources.map(({ source }) => source),
    messengers: messengers.map(({ messenger }) => messenger),
    clock,
    config,
  });
  return { fulfilment, reconciliation, preflight };
}

function makeDeps(
  ground: Ground,
  { campaigns, turnstile, admission }: ReturnType<typeof makeIntake>,
  { fulfilment, reconciliation, preflight }: ReturnType<typeof makeDelivery>,
): HttpDeps {
  const { config, outside, secrets, log, clock, randomness, vault, metrics, ledger } = ground;
  return {
    ledger,
    admission,
    turnstile,
    campaigns,
    live: createLive(campaigns, clock),
    metrics,
    vault,
    sessions: createSessions(secrets.sessions, config.sessionMinutes, clock),
    tokens: createTokenChecks({
      tokens: config.tokens,
      limit: config.limits.tokenChecks,
      sharedSecret: outside.tokenSecret ?? secrets.tokenSecret,
      jwks: outside.jwks,
      vault,
      clock,
    }),
    evidence: createEvidence({ ledger, signingKeys: secrets.signing, clock }),
    preflight,
    reconcile: () => reconciliation.run(),
    wakeFulfilment: () => fulfilment.wake(),
    clock,
    randomness,
    config,
    log,
  };
}

function readJwks(file: string): JSONWebKeySet {
  try {
    const jwks = JSON.parse(readFileSync(file, 'utf8')) as JSONWebKeySet;
    createLocalJWKSet(jwks);
    return jwks;
  } catch (cause) {
    throw new OperationalError('CONFIG_INVALID', { detail: `The JWK set ${file} cannot be read.`, cause });
  }
}

function readTls({ certFile, keyFile }: NonNullable<Config['tls']>): TlsFiles {
  try {
    // Who can read it can be this server; a group may, as packages of certificates arrange it.
    if ((statSync(keyFile).mode & 0o007) !== 0)
      throw new Error('the key is open to everybody on this machine: chmod o-rwx');
    const files = { cert: readFileSync(certFile), key: readFileSync(keyFile) };
    createSecureContext(files);
    return files;
  } catch (cause) {
    throw new OperationalError('CONFIG_INVALID', {
      detail: `TLS cannot be served with ${certFile} and ${keyFile} (${(cause as Error).message}).`,
      cause,
    });
  }
}

function openLedger(config: Config, secrets: Secrets, log: Logger): Promise<SqliteLedger> {
  return openSqliteLedger({
    dataDir: resolve(config.dataDir),
    master: secrets.master,
    signingKeys: secrets.signing,
    log,
    allowVolatile: config.allowVolatile,
    fatal: (error) => endAtOnce(log, error),
  });
}

/** A failed sync is never retried: what the next start shows must be what is on the disk. */
function endAtOnce(log: Logger, error: unknown): never {
  log.fatal({ err: error }, 'the store failed; ending at once, nothing unacknowledged is lost');
  process.exit(70);
}

async function listen(parts: Parts, config: Config): Promise<string> {
  const { app, ledger, bus, relay, admission, fulfilment, clock, log, deps } = parts;
  const onError = (error: unknown): void =>
    log.error({ err: error }, 'a background job failed; it runs again');
  app.doorbuster.starting = true;
  fulfilment.start();
  await bus.start();
  witnessBus(resolve(config.dataDir));
  ledger.onOutbox(() => relay.wake());
  relay.start();
  await admission.start(await openCampaigns(ledger));
  parts.timekeeper = startTimekeeper(ledger.campaigns, clock, onError);
  parts.jobs.push(
    startPeriodic(
      clock,
      config.delivery.reconcileEveryMs,
      async () => void (await parts.reconciliation.runScheduled()),
      onError,
    ),
  );
  parts.jobs.push(
    startRetention({ evidence: ledger.evidence, clock, retentionDays: config.retentionDays, onError }),
  );
  if (config.verifyEveryMinutes > 0)
    parts.jobs.push(
      startPeriodic(clock, config.verifyEveryMinutes * 60_000, () => verifyRunning(deps), onError),
    );
  try {
    await app.listen({ host: config.host, port: config.port });
  } catch (cause) {
    throw listenError(cause, `${config.host}:${config.port}`);
  }
  const { port } = app.server.address() as AddressInfo;
  const host = config.host.includes(':')
    ? `[${config.host}]`
    : config.host === '0.0.0.0'
      ? '127.0.0.1'
      : config.host;
  parts.address.url = `${config.tls ? 'https' : 'http'}://${host}:${port}`;
  app.doorbuster.starting = false;
  return parts.address.url;
}

/** What a person can mend is named; anything else is a bug and keeps its stack. */
function listenError(cause: unknown, at: string): unknown {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE') return new OperationalError('PORT_BUSY', { detail: at, cause });
  if (code !== 'EACCES' && code !== 'EADDRNOTAVAIL' && code !== 'ENOTFOUND') return cause;
  const detail = `\n  /host, /port: ${at} cannot be listened on (${code}): ${code === 'EACCES' ? 'ports below 1024 need a privilege; put a proxy in front' : 'no address of this machine'}`;
  return new OperationalError('CONFIG_INVALID', { detail, cause });
}

async function openCampaigns(ledger: Ledger): Promise<readonly string[]> {
  const ids: string[] = [];
  let after: string | undefined;
  do {
    const page = await ledger.campaigns.list({ limit: 200, ...(after ? { after } : {}) });
    for (const campaign of page.items)
      if (campaign.lane && campaign.state !== 'closed') ids.push(campaign.id);
    after = page.next ?? undefined;
  } while (after);
  return ids;
}

async function verifyRunning(deps: HttpDeps): Promise<void> {
  const report = await deps.ledger.verify();
  if (!report.ok) deps.log.error({ violations: report.violations }, 'the ledger does not verify');
}

async function stop(parts: Parts, config: Config): Promise<void> {
  const { app, deps, admission, fulfilment, relay, bus, ledger } = parts;
  app.doorbuster.draining = true;
  // Listening ends first, so that nothing new arrives; answers under way are still sent.
  const closed = app.close();
  await admission.drain();
  deps.live.close();
  app.server.closeIdleConnections();
  await closed;
  await parts.timekeeper?.stop();
  await Promise.all(parts.jobs.map((job) => job.stop()));
  await fulfilment.stop(config.drainMs);
  await relay.stop();
  await bus.stop({ drainMs: config.drainMs });
  deps.campaigns.close();
  await ledger.close();
}

/** Made and writable: the secrets are written into it before the ledger looks at it. */
function makeDataDir(dataDir: string): void {
  const probe = join(dataDir, '.writable');
  try {
    makeDirectory(dataDir);
    writeFileSync(probe, 'x', { mode: 0o600 });
    rmSync(probe, { force: true });
  } catch (cause) {
    throw new OperationalError('LEDGER_UNSAFE', {
      detail: `${dataDir} cannot be written (${(cause as NodeJS.ErrnoException).code ?? 'error'}).`,
      cause,
    });
  }
}

/** The key of the CLI on this machine; made when there is none. Returns it then, else null. */
async function firstOperatorKey(ledger: Ledger, dataDir: string): Promise<string | null> {
  const file = operatorKeyPath(dataDir);
  if (existsSync(file)) return null;
  const { token } = await createApiKey(
    ledger.access,
    systemRandomness(),
    { name: 'operator of this machine', scopes: ['*'] },
    { kind: 'system', id: 'first-run' },
  );
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  return token;
}

function messengerSettings(config: Config, environment: Environment): readonly MessengerSetting[] {
  return Object.entries(config.messengers).map(([name, c]) => {
    const messenger = messengerOf(name, c, config, environment);
    return c.type === 'file'
      ? { messenger }
      : {
          messenger,
          limits: { timeoutMs: c.timeoutMs, ratePerSecond: c.ratePerSecond, concurrency: c.concurrency },
        };
  });
}

function messengerOf(
  name: string,
  c: Config['messengers'][string],
  config: Config,
  environment: Environment,
): Messenger {
  if (c.type === 'file')
    return createFileMessenger({ name, path: join(resolve(config.dataDir), c.path), clock: systemClock });
  if (c.type === 'webhook')
    return createWebhookMessenger({
      name,
      url: c.url,
      secret: resolveSecret(c.secret, environment),
      clock: systemClock,
      allowPrivateAddresses: c.allowPrivateAddress,
      connections: c.concurrency,
    });
  const url = new URL(`${c.secure ? 'smtps' : 'smtp'}://${c.host}:${c.port}`);
  if (c.user) url.username = encodeURIComponent(c.user);
  if (c.password) url.password = encodeURIComponent(resolveSecret(c.password, environment));
  if (c.requireTls && !c.secure) url.searchParams.set('requireTLS', 'true');
  return createSmtpMessenger({
    name,
    url: url.href,
    from: c.from,
    connections: c.concurrency,
    timeoutMs: c.timeoutMs,
  });
}

function remoteSourceSettings(config: Config, environment: Environment): readonly SourceSetting[] {
  return Object.entries(config.voucherSources).map(([name, c]) => {
    const options = {
      name,
      url: c.url.replace(/\/$/, ''),
      secret: c.bearer ? resolveSecret(c.bearer, environment) : '',
      longestFlightMs: c.longestFlightMs,
    };
    const source =
      c.type === 'http-idempotent' ? createHttpIdempotentSource(options) : createHttpQueryableSource(options);
    return {
      source,
      limits: { timeoutMs: c.timeoutMs, ratePerSecond: c.ratePerSecond, concurrency: c.concurrency },
    };
  });
}

/** `doctor`: what the configured providers say of themselves; sends a test message when an address is given. */
export async function checkProviders(
  config: Config,
  environment: Environment,
  testEmail: string | undefined,
): Promise<readonly { readonly name: string; readonly faults: readonly string[] }[]> {
  const results: { name: string; faults: readonly string[] }[] = [];
  for (const { messenger } of messengerSettings(config, environment)) {
    results.push({ name: `messenger ${messenger.name}`, faults: await messenger.check(testEmail) });
    await messenger.close();
  }
  // Zero units: whether it answers and takes the secret; how many vouchers it must have, only a campaign knows.
  for (const { source } of remoteSourceSettings(config, environment))
    results.push({ name: `voucher source ${source.name}`, faults: await source.check('doctor', 0) });
  return results;
}

export async function verifyDataDirectory(config: Config): Promise<VerifyReport> {
  const { verifyLedgerFile } = await import('./ledgers/sqlite/offline.ts');
  const { secrets } = openSecrets(secretsPath(config), systemClock.now(), false);
  return verifyLedgerFile(ledgerPath(config.dataDir), {
    vault: new Vault(secrets.master),
    signingKeys: secrets.signing,
  });
}

export async function backupDataDirectory(config: Config, to: string): Promise<void> {
  const { backupLedgerFile } = await import('./ledgers/sqlite/offline.ts');
  backupLedgerFile(ledgerPath(config.dataDir), to);
}

/** Returns the ids of the campaigns whose lanes entered a new epoch. */
export async function restoreDataDirectory(config: Config, from: string): Promise<readonly string[]> {
  const { restoreLedgerFile } = await import('./ledgers/sqlite/offline.ts');
  const { secrets } = openSecrets(secretsPath(config), systemClock.now(), false);
  return restoreLedgerFile(from, resolve(config.dataDir), {
    master: secrets.master,
    signingKeys: secrets.signing,
  });
}
