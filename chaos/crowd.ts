/**
 * The crowd: a process of its own that plays the members over HTTP, outlives the servers it talks to, and keeps every answer. It strikes the blow itself, at
 * the acknowledgement the order names, because nobody sees that moment earlier; and it goes on where the server is reached next.
 *
 * Some click twice, some hang up once their request is sent, everybody comes again until there is an answer.
 */
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pause, systemClock } from '@doorbuster/messaging';
import type { KeptAnswer } from '../packages/server/src/cli/demo/crowd.ts';
import { seededRandom } from '../packages/server/src/cli/demo/random.ts';
import { Crowd, range, shuffled } from '../packages/server/src/acceptance/testing/crowd.ts';
import type { Blow, CrowdOrder, CrowdReport, EnterOrder } from './crowd-orders.ts';

const doubleShare = 0.1;
const hangUpShare = 0.05;
const patienceMs = 20_000;
const decisive: ReadonlySet<number> = new Set([200, 201, 202, 403, 409, 410]);

const tell = (report: CrowdReport): void => void process.stdout.write(`${JSON.stringify(report)}\n`);

class Campaign {
  readonly #order: EnterOrder;
  readonly #crowd: Crowd;
  readonly #random: () => number;
  readonly #acknowledged = new Set<number>();
  readonly #firstSentAt: number[] = [];
  #url: string;
  #struck = false;
  #hungUp = 0;
  /** Resolves when the server is reached at another address. */
  #moved = Promise.withResolvers<void>();

  constructor(order: EnterOrder) {
    this.#order = order;
    this.#url = order.url;
    this.#random = seededRandom(order.seed);
    const here = (): string => this.#url;
    const entrance = {
      get url() {
        return here();
      },
      tokenSecret: order.tokenSecret,
    };
    const { connections, body } = order;
    this.#crowd = new Crowd(entrance, order.campaignId, { connections, body, patienceMs });
  }

  moveTo(url: string): void {
    this.#url = url;
    this.#moved.resolve();
    this.#moved = Promise.withResolvers();
  }

  async enter(): Promise<void> {
    const { members, connections, spreadMs } = this.#order;
    // Every other member comes with a session, as from the shop's page, the others with the shop's token: two ways through the server.
    await this.#crowd.each(
      range(members).filter((member) => member % 2 === 0),
      connections,
      (member) => this.#crowd.signIn(member).catch(() => undefined),
    );
    const longestPauseMs = (2 * spreadMs * connections) / members;
    await this.#crowd.each(shuffled(members, this.#random), connections, async (member) => {
      const draw = this.#random();
      await pause(systemClock, longestPauseMs * this.#random());
      this.#firstSentAt[member] = systemClock.now();
      if (draw < doubleShare) await Promise.all([this.#insist(member), this.#insist(member)]);
      else if (draw < doubleShare + hangUpShare) await this.#hangUpFirst(member);
      else await this.#insist(member);
    });
    tell({ told: 'entered' });
  }

  /** The answer given is the answer for ever: everybody asks again. */
  async return(answersFile: string): Promise<void> {
    const { members, connections, intake } = this.#order;
    await this.#crowd.each(range(members), connections, async (member) => {
      await this.#insist(member);
      if (intake === 'queued') await this.#crowd.learn(member, patienceMs);
    });
    const { answers, statuses, unanswered, faults } = this.#crowd;
    writeFileSync(answersFile, answers.map((answer) => `${JSON.stringify(answer)}\n`).join(''));
    await this.#crowd.close();
    const firstSentAt = this.#firstSentAt;
    tell({ told: 'returned', statuses, unanswered, hungUp: this.#hungUp, faults, firstSentAt });
  }

  async #hangUpFirst(member: number): Promise<void> {
    this.#hungUp += 1;
    await this.#crowd.hangUp(member).catch(() => undefined);
    await this.#insist(member);
  }

  /** Until there is an answer that decides. A broken connection waits a little, or until the server is somewhere else. */
  async #insist(member: number): Promise<void> {
    const end = systemClock.monotonic() + patienceMs;
    for (let waitMs = 5; ; waitMs = Math.min(2 * waitMs, 200)) {
      const answer = await this.#crowd.enter(member);
      if (answer !== null && this.#isDecisive(member, answer)) return;
      if (systemClock.monotonic() > end) {
        this.#crowd.faults.push(`member ${member} got no answer that decides for ${patienceMs} ms`);
        return;
      }
      const over = new AbortController();
      await Promise.race([pause(systemClock, waitMs, over.signal), this.#moved.promise]);
      over.abort();
    }
  }

  #isDecisive(member: number, { status, verdict }: KeptAnswer): boolean {
    if (status === 200 || status === 201 || status === 202) this.#count(member);
    return decisive.has(status) && verdict !== 'not-open';
  }

  #count(member: number): void {
    if (this.#acknowledged.has(member)) return;
    this.#acknowledged.add(member);
    const count = this.#acknowledged.size;
    const { blow } = this.#order;
    if (!this.#struck && count >= blow.afterAcknowledged) {
      this.#struck = true;
      strike(blow);
    }
    tell({ told: 'acknowledged', count });
  }
}

function strike({ act, pid, armFile }: Blow): void {
  if (act === 'arm') writeFileSync(armFile, '');
  else process.kill(pid, act === 'kill' ? 'SIGKILL' : 'SIGSTOP');
  tell({ told: 'struck', at: systemClock.now() });
}

let campaign: Campaign | null = null;

function obey(order: CrowdOrder): Promise<void> | undefined {
  if (order.order === 'enter') return (campaign = new Campaign(order)).enter();
  if (order.order === 'url') campaign?.moveTo(order.url);
  else return campaign?.return(order.answersFile);
  return undefined;
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    obey(JSON.parse(line) as CrowdOrder)?.catch((error: unknown) => {
      process.stderr.write(`${(error as Error).stack}\n`);
      process.exit(1);
    });
  })
  // Whoever started it is gone.
  .on('close', () => process.exit(0));
tell({ told: 'acknowledged', count: 0 });
