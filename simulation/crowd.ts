/**
 * The members and the operator of a run: who asks what, when, and what they do when nobody answers. Everything they are told goes into the
 * auditor's book, with the observer's time of question and answer. They know nothing else.
 */
import type { Decision, Receipt } from '@doorbuster/core';
import { OperationalError } from '../packages/server/src/errors.ts';
import type { AdmissionAnswer, OperatorLaneCommand } from '../packages/server/src/ledger.ts';
import type { Book } from './auditor.ts';
import type { Seeded } from './seeded.ts';
import { ConnectionLost, type ServerProcess } from './server-process.ts';
import type { Member, Shop, ShopCampaign } from './shop.ts';
import type { World } from './world.ts';

const operator = { kind: 'api-key', id: 'shop' } as const;
const mostTries = 8;
/** Until when the crowd begins something new, after opening. ms */
export const rushMs = 75_000;

export class Crowd {
  commands = 0;
  readonly #world: World;
  readonly #shop: Shop;
  readonly #book: Book;
  readonly #server: () => ServerProcess | null;
  readonly #network: Seeded;

  constructor(world: World, shop: Shop, book: Book, server: () => ServerProcess | null) {
    this.#world = world;
    this.#shop = shop;
    this.#book = book;
    this.#server = server;
    this.#network = world.random('network');
  }

  /** Sets a timer for everything that will be asked. */
  begin(): void {
    for (const campaign of this.#shop.campaigns) {
      const random = this.#world.random(`crowd ${campaign.id}`);
      for (const member of campaign.members) this.#plan(campaign, member, random);
      this.#planOperator(campaign, this.#world.random(`operator ${campaign.id}`));
    }
  }

  revoke(campaignId: string, seq: number): void {
    this.#at(this.#world.now, () => this.#command(campaignId, { type: 'revoke', seq }));
  }

  /** Everyone looks once more, in the calm. */
  async lookAgain(): Promise<void> {
    const members = this.#shop.campaigns.flatMap((campaign) => campaign.members);
    await Promise.all(members.map((member) => this.#look(member, 1)));
  }

  // --- members ---------------------------------------------------------------------------------------------------------------------

  #plan({ opensAt }: ShopCampaign, member: Member, random: Seeded): void {
    const visits = random.integer(1, 5);
    for (let i = 0; i < visits; i += 1) {
      const drawn = random.share();
      const early = Math.max(100, opensAt - random.integer(1, 8_000));
      const at =
        drawn < 0.06 ? early : opensAt + (drawn < 0.5 ? random.integer(0, 3_000) : random.integer(0, rushMs));
      const copies = random.chance(0.15) ? random.integer(2, 4) : 1;
      for (let copy = 0; copy < copies; copy += 1)
        this.#at(at + copy * random.integer(0, 3), () => this.#enter(member));
    }
    if (random.chance(0.3)) this.#at(opensAt + random.integer(2_000, rushMs), () => this.#reveal(member));
    if (random.chance(0.3)) this.#at(opensAt + random.integer(2_000, rushMs), () => this.#look(member, 3));
  }

  #at(ms: number, run: () => Promise<void>): void {
    this.commands += 1;
    this.#world.after(ms - this.#world.now, () => void run().catch((error) => this.#book.bug(error)));
  }

  async #enter(member: Member): Promise<void> {
    const { campaignId, memberKey } = member;
    const random = this.#world.random(`entry ${campaignId} ${member.name} ${this.#world.now}`);
    for (let tries = 1; tries <= mostTries; tries += 1) {
      const startedAt = this.#world.now;
      const submission = { memberKey, answers: null, screenedOut: false };
      const told = await this.#ask((server) => server.submit(campaignId, submission));
      if (told !== null && told.kind === 'pending') {
        this.#book.pending(member, this.#world.now);
        await this.#world.delay(random.integer(300, 4_000));
        return this.#look(member, 3);
      }
      if (told !== null) {
        this.#record(member, told.answer, startedAt);
        const { verdict } = told.answer.decision;
        if (verdict !== 'paused' && verdict !== 'not-open') return;
        if (random.chance(0.5)) return;
      }
      await this.#world.delay(random.integer(200, 2_500));
    }
  }

  #record(member: Member, { decision, receipt }: AdmissionAnswer, startedAt: number): void {
    const text = receipt === null ? null : (JSON.parse(receipt) as Receipt);
    const { campaignId: campaign, memberKey } = member;
    this.#world.note('answer', campaign, member.name, decision.verdict, numberOf(decision));
    this.#book.answer({
      campaign,
      lane: 0,
      memberKey,
      verdict: decision.verdict,
      seq: 'seq' in decision ? decision.seq : null,
      unit: 'unit' in decision ? decision.unit : null,
      recordNo: 'recordNo' in decision ? decision.recordNo : null,
      startedAt,
      endedAt: this.#world.now,
    });
    if (text !== null) this.#book.receipt(text);
  }

  /** `entries/mine` */
  async #look(member: Member, tries: number): Promise<void> {
    for (let i = 0; i < tries; i += 1) {
      const startedAt = this.#world.now;
      const entry = await this.#ask((server) => server.mine(member.campaignId, member.memberKey));
      if (entry !== null) {
        const { verdict, seq, recordNo, receipt, salt, at } = entry;
        // `unit` is the one held now; what was promised first stands in the receipt.
        const unit = firstUnitOf(receipt);
        const decision: Decision = { verdict, seq, recordNo, unit, repeated: true };
        return this.#record(member, { decision, receipt, salt, at }, startedAt);
      }
      await this.#world.delay(1_500);
    }
  }

  /** The member opens the result page and sees the voucher. */
  async #reveal({ campaignId, memberKey, name }: Member): Promise<void> {
    const voucher = await this.#ask((server) =>
      server.call(() => server.ledger.deliveries.reveal(campaignId, memberKey)),
    );
    if (voucher === null) return;
    this.#world.note('revealed', campaignId, name, voucher.code);
    this.#book.shown({ campaign: campaignId, memberKey, voucher: voucher.code, shownAt: this.#world.now });
  }

  // --- operator --------------------------------------------------------------------------------------------------------------------

  #planOperator(campaign: ShopCampaign, random: Seeded): void {
    const busy = random.integer(0, 10);
    for (let i = 0; i < busy; i += 1) {
      const at = campaign.opensAt + random.integer(-1_000, rushMs);
      const command = drawCommand(campaign, random);
      if (command === 'retry') this.#at(at, () => this.#retryParked(campaign.id));
      else if (command === 'ban') this.#at(at, () => this.#ban(campaign.id, random.pick(campaign.members)));
      else this.#at(at, () => this.#command(campaign.id, command));
      if (typeof command === 'object' && command.type === 'pause')
        this.#at(at + random.integer(500, 8_000), () => this.#command(campaign.id, { type: 'resume' }));
    }
  }

  async #command(id: string, command: OperatorLaneCommand): Promise<void> {
    // Whatever becomes of the answer, the command may have been done.
    this.#book.command(id, command);
    const done = await this.#ask((server) =>
      server.call(() => server.ledger.campaigns.command(id, command, operator)),
    );
    this.#world.note('operator', id, command.type, done === null ? 'lost' : done.ok ? 'ok' : done.code);
  }

  async #retryParked(id: string): Promise<void> {
    this.#book.resend(id);
    await this.#ask((server) =>
      server.call(() => server.ledger.deliveries.startBatch(id, { state: 'parked' }, false, operator)),
    );
  }

  async #ban(id: string, { memberKey }: Member): Promise<void> {
    this.#book.banned.add(`${id} ${memberKey}`);
    await this.#ask((server) =>
      server.call(() => server.ledger.admission.setBan(id, memberKey, true, operator)),
    );
  }

  // --- network ---------------------------------------------------------------------------------------------------------------------

  /** One exchange over the network. Null: no answer, or a retryable problem; nothing is known. */
  async #ask<T>(ask: (server: ServerProcess) => Promise<T>): Promise<T | null> {
    const network = this.#network;
    await this.#world.delay(network.integer(1, 30));
    const server = this.#server();
    if (server === null) return null;
    const lost = this.#world.faulty && network.chance(0.03);
    try {
      const answer = await ask(server);
      await this.#world.delay(network.integer(1, 30));
      if (!lost) return answer;
      this.#world.fault('lost-answer');
      return null;
    } catch (error) {
      if (error instanceof ConnectionLost) return null;
      if (error instanceof OperationalError && error.retryable) return null;
      throw error;
    }
  }
}

function firstUnitOf(receipt: string): number | null {
  const { record } = JSON.parse(receipt) as Receipt;
  return (JSON.parse(record) as { readonly unit: number | null }).unit;
}

function numberOf(decision: Decision): number {
  return 'seq' in decision ? decision.seq : 0;
}

function drawCommand(
  { definition, members }: ShopCampaign,
  random: Seeded,
): OperatorLaneCommand | 'retry' | 'ban' {
  const { capacity } = definition.stock;
  const type = random.pick([
    'pause',
    'change-stock',
    'change-stock',
    'revoke',
    'revoke',
    'revoke',
    'replace',
    'promote',
    'retry',
    'ban',
    'close',
  ] as const);
  switch (type) {
    case 'change-stock': {
      const raised = Math.max(1, capacity + random.integer(-3, 8));
      return { type, capacity: raised, safetyStock: random.integer(0, Math.min(2, raised)) };
    }
    case 'revoke':
    case 'replace':
      return { type, seq: random.integer(1, Math.min(members.length, capacity + 3)) };
    case 'close':
      return random.chance(0.3) ? { type } : { type: 'promote' };
    default:
      return type === 'retry' || type === 'ban' ? type : { type };
  }
}
