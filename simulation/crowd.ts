/**
 * The members of a run: who asks what, and what they do when nobody answers. Everything they are told goes into the auditor's book, with the
 * observer's time of question and answer. They know nothing else. The operator of `operator.ts` speaks over the same network.
 */
import type { Decision, Receipt, SurveyAnswers } from '@doorbuster/core';
import { OperationalError } from '../packages/server/src/errors.ts';
import type { AdmissionAnswer } from '../packages/server/src/ledger.ts';
import type { Book } from './book.ts';
import type { Step } from './plan.ts';
import type { Seeded } from './seeded.ts';
import { ConnectionLost, type ServerProcess } from './server-process.ts';
import type { Member, Shop } from './shop.ts';
import type { World } from './world.ts';

const mostTries = 7;

/** One exchange at a time between the world and whichever process serves now. */
export class Network {
  readonly #world: World;
  readonly #server: () => ServerProcess | null;
  #shutAt = -1;

  constructor(world: World, server: () => ServerProcess | null) {
    this.#world = world;
    this.#server = server;
  }

  /** Answers still on their way from before now reach nobody. */
  shut(): void {
    this.#shutAt = this.#world.now;
  }

  /** Null: no answer, or a retryable problem; nothing is known. */
  async ask<T>(random: Seeded, ask: (server: ServerProcess) => Promise<T>): Promise<T | null> {
    const world = this.#world;
    await world.delay(random.integer(1, 30));
    if (random.chance(world.storm('lost-request') / 6)) {
      world.fault('lost-request');
      return null;
    }
    const server = this.#server();
    if (server === null) return null;
    const askedAt = world.now;
    try {
      const answer = await ask(server);
      await world.delay(random.integer(1, 30));
      if (askedAt <= this.#shutAt) return null;
      if (!random.chance(world.storm('lost-answer') / 6)) return answer;
      world.fault('lost-answer');
      return null;
    } catch (error) {
      if (error instanceof ConnectionLost) return null;
      if (error instanceof OperationalError && error.retryable) return null;
      throw error;
    }
  }
}

export class Crowd {
  readonly #world: World;
  readonly #book: Book;
  readonly #network: Network;

  constructor(world: World, book: Book, network: Network) {
    this.#world = world;
    this.#book = book;
    this.#network = network;
  }

  act(step: Extract<Step, { who: 'member' }>): Promise<void> {
    const random = this.#world.random(`step ${step.id}`);
    switch (step.act.act) {
      case 'enter':
        return this.#enter(step.member, step.act.answers, random);
      case 'reveal':
        return this.#reveal(step.member, random);
      case 'look':
        return this.#look(step.member, 3, random);
    }
  }

  /** Everyone looks once more, in the calm. */
  async lookAgain(shop: Shop): Promise<void> {
    const members = shop.campaigns.flatMap((campaign) => campaign.members);
    const random = this.#world.random('last look');
    await Promise.all(members.map((member) => this.#look(member, 1, random)));
  }

  async #enter(member: Member, answers: SurveyAnswers | null, random: Seeded): Promise<void> {
    const { campaignId, memberKey } = member;
    for (let tries = 1; tries <= mostTries; tries += 1) {
      const startedAt = this.#world.now;
      this.#book.submission(member, answers, startedAt);
      const told = await this.#network.ask(random, (server) => server.enter(campaignId, memberKey, answers));
      if (told !== null && told.kind === 'pending') {
        this.#world.coverage.see('verdict', 'pending');
        this.#book.pending(member, this.#world.now);
        await this.#world.delay(random.integer(300, 4_000));
        return this.#look(member, 3, random);
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
    const repeated = 'repeated' in decision && decision.repeated ? ', repeated' : '';
    this.#world.coverage.see('verdict', `${decision.verdict}${repeated}`);
    this.#book.answer(
      {
        campaign,
        lane: 0,
        memberKey,
        verdict: decision.verdict,
        seq: 'seq' in decision ? decision.seq : null,
        unit: 'unit' in decision ? decision.unit : null,
        recordNo: 'recordNo' in decision ? decision.recordNo : null,
        startedAt,
        endedAt: this.#world.now,
      },
      'reason' in decision ? decision.reason : null,
    );
    if (text !== null) this.#book.receipt(text);
  }

  /** `entries/mine` */
  async #look(member: Member, tries: number, random: Seeded): Promise<void> {
    for (let i = 0; i < tries; i += 1) {
      const startedAt = this.#world.now;
      const entry = await this.#network.ask(random, (server) =>
        server.mine(member.campaignId, member.memberKey),
      );
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
  async #reveal({ campaignId, memberKey, name }: Member, random: Seeded): Promise<void> {
    const voucher = await this.#network.ask(random, (server) =>
      server.call(() => server.ledger.deliveries.reveal(campaignId, memberKey)),
    );
    if (voucher === null) return;
    this.#world.note('revealed', campaignId, name, voucher.code);
    this.#book.shown({ campaign: campaignId, memberKey, voucher: voucher.code, shownAt: this.#world.now });
  }
}

function firstUnitOf(receipt: string): number | null {
  const { record } = JSON.parse(receipt) as Receipt;
  return (JSON.parse(record) as { readonly unit: number | null }).unit;
}

function numberOf(decision: Decision): number {
  return 'seq' in decision ? decision.seq : 0;
}
