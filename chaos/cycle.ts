/**
 * One cycle: a campaign that is entered by the crowd, struck by its blow, started again on the same data, entered by whoever has no answer yet and then by
 * everybody once more, delivered, and audited.
 *
 *   strike   prepare -> enter -> blow -> (torn tails, killed again at the start) -> start -> all answered -> all again
 *   settle   delivered -> audit
 *
 * The server of a cycle was started at the end of the cycle before it, so each start already carries the failpoint of what comes next.
 */
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pause, systemClock } from '@doorbuster/messaging';
import {
  codeOf,
  csv,
  type Installation,
  type SeededCampaign,
} from '../packages/server/src/acceptance/testing/installation.ts';
import { gather } from '../packages/server/src/acceptance/testing/judge.ts';
import { startProcess, until } from '../packages/server/src/acceptance/testing/process.ts';
import { emailOf, memberIdOf } from '../packages/server/src/cli/demo/crowd-plan.ts';
import { CliError } from '../packages/server/src/cli/failure.ts';
import { seededRandom } from '../packages/server/src/cli/demo/random.ts';
import { verifyLedgerFile } from '../packages/server/src/ledgers/sqlite/offline.ts';
import { openSecrets } from '../packages/server/src/secrets.ts';
import { Vault } from '../packages/server/src/vault.ts';
import type { AnswerCutter, Withheld } from './answer-cutter.ts';
import { auditCycle, type Verdict } from './audit.ts';
import { checkBackup } from './backup.ts';
import type { Blow } from './crowd-orders.ts';
import type { CrowdProcess } from './crowd-process.ts';
import { type FailpointName, failpointOf } from './failpoints.ts';
import { acknowledgements, type Plan } from './plan.ts';
import { type ArmedFailpoint, processWith, type StartOptions } from './server-start.ts';

/** What a life has on the stage for all of its cycles. */
export interface Stage {
  readonly shop: Installation;
  readonly crowd: CrowdProcess;
  readonly cutter: AnswerCutter;
  readonly options: StartOptions;
}

export interface CycleResult extends Verdict {
  readonly name: string;
  readonly kills: number;
  /** Kills of a server that had given an acknowledgement of this cycle, before the one that was started after it gave another. */
  readonly killsWhileAdmitting: number;
  readonly failpoints: readonly FailpointName[];
  /** A failpoint that was armed and not met: the server was killed from outside. */
  readonly missed: FailpointName | null;
  readonly stops: number;
  readonly refusedStarts: number;
  readonly answersLost: number;
  readonly tornTails: number;
  /** It broke off (a time-out, a publication that failed) with nothing seen before: a fault of the run, not one that a judgement found. */
  readonly broken: boolean;
}

/** Silence of the mail server after which a sending is unknown, ms. */
export const mailTimeoutMs = 1_000;
/** As short as the configuration allows with that. */
export const leaseMs = 7_100;
/** The pre-flight asks the mail server, which has the same processors: it may be late. */
const publishPatienceMs = 15_000;
/** Members arrive over about this time, ms. */
const spreadMs = 200;
/** Once the crowd has its answers, an armed failpoint is waited for this long; then it is missed. */
const failpointGraceMs = 3_000;
const deliveryPatienceMs = leaseMs + 5_000;
const blowPatienceMs = 20_000;
const losesShare = 0.12;

const title = (en: string): { readonly en: string } => ({ en });
const survey = {
  questions: [
    {
      id: 'drink',
      type: 'single',
      label: title('Drink'),
      options: [
        { id: 'tea', label: title('Tea') },
        { id: 'coffee', label: title('Coffee') },
      ],
    },
    { id: 'again', type: 'scale', label: title('Again?'), min: 1, max: 5 },
  ],
};
const surveyBody = JSON.stringify({ answers: { drink: 'tea', again: 4 } });

/** What is known once the crowd has all its answers. */
interface Answered {
  readonly campaign: SeededCampaign;
  readonly told: Awaited<ReturnType<CrowdProcess['return']>>;
  readonly withheld: readonly Withheld[];
}

/** The failpoint with which the server of this plan is started; null: none. */
export function failpointOfStart(plan: Plan | null, armFile: string): ArmedFailpoint | null {
  if (plan === null) return null;
  const { beside, blow, nth } = plan;
  if (beside !== null && failpointOf(beside).phase === 'import') return { name: beside, nth: 1, armFile };
  return blow === 'kill' || blow === 'stop' ? null : { name: blow, nth, armFile };
}

export class Cycle {
  readonly #stage: Stage;
  readonly #plan: Plan;
  readonly #next: Plan | null;
  readonly #random: () => number;
  readonly #killedAt: number[] = [];
  readonly #failpoints: FailpointName[] = [];
  readonly #seen: string[] = [];
  readonly #count = { kills: 0, stops: 0, refusedStarts: 0, tornTails: 0 };
  #missed: FailpointName | null = null;
  #sentAgain = false;
  #answered: Answered | null = null;

  constructor(stage: Stage, plan: Plan, next: Plan | null) {
    this.#stage = stage;
    this.#plan = plan;
    this.#next = next;
    this.#random = seededRandom(plan.seed);
  }

  /** Up to the last answer. What is still to be delivered goes on beside the cycles after this one, and their kills fall on it too. */
  async strike(): Promise<void> {
    const { crowd, cutter, shop } = this.#stage;
    const { name } = this.#plan;
    const campaign = await this.#prepare();
    cutter.withheld.length = 0;
    cutter.fate = this.#plan.losesAnswers ? losingAnswers(this.#random) : () => 1;
    this.#enter();
    const backup = this.#besideOf('backup');
    const backedUp = backup === null ? null : checkBackup(this.#stage, name, backup);
    await this.#blow();
    await this.#startAgain();
    crowd.moveTo(this.#entrance());
    await crowd.told('entered');
    const told = await crowd.return(shop.path(`answers-${name}.ndjson`));
    const report = await backedUp;
    if (report?.struck && backup) this.#failpoints.push(backup);
    this.#seen.push(...(report?.faults ?? []));
    this.#answered = { campaign, told, withheld: [...cutter.withheld] };
  }

  /** Faults seen so far. They stand also when the cycle breaks off. */
  get seen(): readonly string[] {
    return this.#seen;
  }

  /** Each unit has its mail. */
  get isDelivered(): boolean {
    const { codes } = this.#expectAnswered().campaign;
    const arrived = this.#stage.shop.mails().map(codeOf);
    return new Set(arrived.filter((code) => codes.has(code))).size >= this.#plan.crowding.units;
  }

  /** Waits until everything due is delivered, then audits. */
  async settle(): Promise<CycleResult> {
    const { campaign, told, withheld } = this.#expectAnswered();
    const { name, crowding } = this.#plan;
    await this.#delivered(campaign);
    const verdict = auditCycle({
      name,
      crowding,
      gathered: await gather(this.#stage.shop, campaign, told.answers),
      statuses: told.statuses,
      crowdFaults: told.faults,
      withheld,
      firstSentAt: told.firstSentAt,
      verifyFaults: this.#verify(),
      seen: this.#seen,
      sentAgain: this.#sentAgain,
    });
    const acknowledgedAt = told.answers
      .filter(({ status }) => status === 201 || status === 202)
      .map(({ answeredAt }) => answeredAt);
    const [firstAt, lastAt] = [Math.min(...acknowledgedAt), Math.max(...acknowledgedAt)];
    return {
      ...verdict,
      name,
      ...this.#count,
      killsWhileAdmitting: this.#killedAt.filter((at) => at >= firstAt && at < lastAt).length,
      failpoints: this.#failpoints,
      missed: this.#missed,
      answersLost: withheld.length,
      broken: false,
    };
  }

  #expectAnswered(): Answered {
    if (this.#answered === null) throw new Error('the crowd has not all its answers yet');
    return this.#answered;
  }

  #besideOf(phase: 'import' | 'start' | 'backup'): FailpointName | null {
    const { beside } = this.#plan;
    return beside !== null && failpointOf(beside).phase === phase ? beside : null;
  }

  get #armFile(): string {
    return this.#stage.shop.path('armed');
  }

  /** Where the crowd goes. */
  #entrance(): string {
    const { shop, cutter } = this.#stage;
    if (!this.#plan.losesAnswers) return shop.url;
    cutter.leadTo(shop.url);
    return cutter.url;
  }

  // --- before the opening ----------------------------------------------------------------------------------------------------------

  async #prepare(): Promise<SeededCampaign> {
    const { shop } = this.#stage;
    const { name: id, crowding } = this.#plan;
    const { members, units, waitlistLimit, kind } = crowding;
    const startsAtMs = systemClock.now();
    await shop.draft(
      {
        id,
        members,
        units,
        intake: kind === 'queued' ? 'queued' : 'direct',
        stock: { waitlistLimit },
        definition: kind === 'survey' ? { survey } : {},
      },
      startsAtMs,
    );
    const at = `/v1/campaigns/${id}`;
    const rows = Array.from({ length: members }, (_, m) => `${memberIdOf(m)},${emailOf(m)}`);
    await shop.client.call('POST', `${at}/members`, csv(['memberId,email', ...rows]));
    const codes = Array.from({ length: units }, makeCode);
    const importing = this.#besideOf('import');
    if (importing === null) await this.#importCodes(codes);
    else await this.#importCodesStruck(codes, importing);
    await until(
      `${id} is published`,
      () =>
        shop.client
          .call('POST', `${at}/publications`, { body: {} })
          .catch((error: unknown) => this.#mayPublishLater(error)),
      publishPatienceMs,
    );
    await shop.opened({ id });
    return { id, codes: new Set(codes), startsAtMs };
  }

  #mayPublishLater(error: unknown): null {
    if (error instanceof CliError && error.faults.length > 0) return null;
    throw error;
  }

  async #importCodes(codes: readonly string[]): Promise<void> {
    await this.#stage.shop.client.call(
      'POST',
      `/v1/campaigns/${this.#plan.name}/voucher-codes`,
      csv(['code', ...codes]),
    );
  }

  /** Killed in the middle of an import: none of the codes is there, and the same import does it. */
  async #importCodesStruck(codes: readonly string[], name: FailpointName): Promise<void> {
    const { shop } = this.#stage;
    appendFileSync(this.#armFile, '');
    const answered = await this.#importCodes(codes).then(
      () => true,
      () => false,
    );
    if (answered) return this.#miss(name);
    await shop.server.ended;
    this.#struck();
    await this.#start(failpointOfStart({ ...this.#plan, beside: null }, this.#armFile));
    const { json } = await shop.client.call('GET', `/v1/campaigns/${this.#plan.name}`);
    if (json['voucherCodeCount'] !== 0)
      this.#seen.push(`half an import is there after a kill: ${String(json['voucherCodeCount'])} codes`);
    await this.#importCodes(codes).catch((error: unknown) => {
      if (error instanceof CliError && error.faults.length > 0)
        this.#seen.push(`what a killed import left refuses the same codes: ${JSON.stringify(error.faults)}`);
      throw error;
    });
  }

  // --- the blow --------------------------------------------------------------------------------------------------------------------

  #enter(): void {
    const { shop, crowd } = this.#stage;
    const { crowding, connections, seed, name, blow, blowAt } = this.#plan;
    const { kind, members } = crowding;
    const act: Blow['act'] = blow === 'kill' || blow === 'stop' ? blow : 'arm';
    crowd.enter({
      order: 'enter',
      url: this.#entrance(),
      campaignId: name,
      tokenSecret: shop.tokenSecret,
      intake: kind === 'queued' ? 'queued' : 'direct',
      members,
      seed,
      connections,
      spreadMs,
      body: kind === 'survey' ? surveyBody : '{}',
      blow: {
        act,
        afterAcknowledged: Math.max(1, Math.floor(blowAt * acknowledgements(crowding))),
        pid: shop.server.process.pid as number,
        armFile: this.#armFile,
      },
    });
  }

  async #blow(): Promise<void> {
    const { shop, crowd } = this.#stage;
    const { blow } = this.#plan;
    if (blow === 'stop') return this.#stop();
    const { at } = await withLimit('the blow', blowPatienceMs, crowd.told('struck'));
    if (blow === 'kill') {
      await shop.server.ended;
      this.#killedAt.push(at);
      this.#count.kills += 1;
      return;
    }
    const asking = new AbortController();
    if (blow === 'checkpoint-signed') void this.#askForCheckpoints(asking.signal);
    const ended = shop.server.ended.then(() => true as const);
    const struck = await Promise.race([ended, this.#grace()]);
    asking.abort();
    if (!struck) {
      this.#miss(blow);
      await shop.kill();
    }
    this.#struck();
    this.#killedAt.push(systemClock.now());
  }

  async #grace(): Promise<false> {
    await this.#stage.crowd.told('entered');
    await pause(systemClock, failpointGraceMs);
    return false;
  }

  #miss(name: FailpointName): void {
    this.#missed = name;
    rmSync(this.#armFile, { force: true });
  }

  /** After the end of the server: by the failpoint, if it says so. */
  #struck(): void {
    rmSync(this.#armFile, { force: true });
    this.#count.kills += 1;
    const said = /^failpoint (\S+)$/m.exec(this.#stage.shop.serverLog)?.[1];
    if (said !== undefined) this.#failpoints.push(said as FailpointName);
    else if (this.#missed === null)
      this.#seen.push(`the server ended by itself: ${this.#stage.shop.serverLog}`);
  }

  /** Whoever looks at the page of evidence while the crowd enters. */
  async #askForCheckpoints(signal: AbortSignal): Promise<void> {
    const address = `${this.#stage.shop.url}/v1/campaigns/${this.#plan.name}/checkpoint`;
    while (!signal.aborted) {
      await fetch(address, { signal }).then(
        (response) => response.arrayBuffer(),
        () => undefined,
      );
      await pause(systemClock, 20, signal);
    }
  }

  /** Stopped past its leases while it holds the data; a second process is refused; then it goes on where it was. */
  async #stop(): Promise<void> {
    const { shop, crowd } = this.#stage;
    await withLimit('the stop', blowPatienceMs, crowd.told('struck'));
    this.#count.stops += 1;
    const stoppedAt = systemClock.monotonic();
    const second = startProcess(
      'packages/server/src/cli/main.ts',
      ['serve', '--json', '--port', '0', '--config', shop.configFile, '--data', shop.dataDir],
      processWith(this.#stage.options, null),
    );
    const line = await second.next().catch(() => ({ code: 'ended without a word' }));
    if ('url' in line) {
      this.#seen.push('a second process was let in on data that another holds');
      await second.kill('SIGKILL');
    } else {
      const code = await second.ended;
      if (code === 3 && (line as { code?: string }).code === 'LEDGER_LOCKED') this.#count.refusedStarts += 1;
      else this.#seen.push(`a second process ended with ${code}: ${JSON.stringify(line)}`);
    }
    await pause(systemClock, Math.max(0, leaseMs + 200 - (systemClock.monotonic() - stoppedAt)));
    shop.server.process.kill('SIGCONT');
    await crowd.told('entered');
    const code = await shop.drain();
    if (code !== 0) this.#seen.push(`the server drained with ${code}: ${shop.serverLog}`);
  }

  // --- the start -------------------------------------------------------------------------------------------------------------------

  async #startAgain(): Promise<void> {
    if (this.#plan.tearsTails) this.#tearTails();
    const name = this.#besideOf('start');
    if (name !== null) await this.#startStruck(name);
    await this.#start(failpointOfStart(this.#next, this.#armFile));
  }

  async #start(failpoint: ArmedFailpoint | null): Promise<void> {
    await this.#stage.shop.startServer(processWith(this.#stage.options, failpoint));
  }

  /** Killed again by what a start does with what the kill left. */
  async #startStruck(name: FailpointName): Promise<void> {
    const started = await this.#start({ name, nth: 1, armFile: null }).then(
      () => true,
      () => false,
    );
    if (started) {
      this.#miss(name);
      await this.#stage.shop.kill();
    }
    this.#struck();
  }

  /** As much of a page as a power cut leaves of a write that was under way: it belongs to no transaction that anybody was told of. */
  #tearTails(): void {
    for (const file of ['ledger.sqlite-wal', 'bus.sqlite-wal']) {
      const path = join(this.#stage.shop.dataDir, file);
      if (!existsSync(path)) continue;
      appendFileSync(path, randomBytes(1 + Math.floor(this.#random() * 4_000)));
      this.#count.tornTails += 1;
    }
  }

  // --- afterwards ------------------------------------------------------------------------------------------------------------------

  /** Until each issued unit has its mail. What was parked, because two sendings ended without an answer, a person sends again. */
  async #delivered(campaign: SeededCampaign): Promise<void> {
    const { shop } = this.#stage;
    try {
      await shop.delivered(campaign, deliveryPatienceMs);
    } catch {
      const at = `/v1/campaigns/${campaign.id}`;
      const { json } = await shop.client.call('GET', `${at}/deliveries?state=parked`);
      this.#sentAgain = ((json['items'] ?? []) as unknown[]).length > 0;
      if (this.#sentAgain)
        await shop.client.call('POST', `${at}/delivery-batches`, { body: { filter: { state: 'parked' } } });
      await shop.delivered(campaign, 2 * deliveryPatienceMs).catch((error: unknown) => {
        this.#seen.push((error as Error).message);
      });
    }
  }

  /** What `doorbuster verify` does, without the time that its process takes; the process itself runs at the end of each life. */
  #verify(): readonly string[] {
    const { dataDir } = this.#stage.shop;
    const { secrets } = openSecrets(join(dataDir, 'secrets.json'), systemClock.now(), false);
    const report = verifyLedgerFile(join(dataDir, 'ledger.sqlite'), {
      vault: new Vault(secrets.master),
      signingKeys: secrets.signing,
    });
    return report.violations.map((violation) => `verify: ${JSON.stringify(violation)}`);
  }
}

const makeCode = (): string =>
  `DB-${(randomBytes(8).toString('hex').toUpperCase().match(/.{4}/g) ?? []).join('-')}`;

/** Most answers pass; the others are lost whole or in the middle. */
function losingAnswers(random: () => number): () => number {
  return () => (random() >= losesShare ? 1 : random() < 0.5 ? 0 : random());
}

async function withLimit<T>(what: string, limitMs: number, promise: Promise<T>): Promise<T> {
  const over = new AbortController();
  const late = pause(systemClock, limitMs, over.signal).then(() => {
    throw new Error(`waited ${limitMs} ms in vain: ${what}`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    over.abort();
  }
}
