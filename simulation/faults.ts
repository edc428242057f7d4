/** What breaks in a run by plan: each strikes at its moment, or as soon after it as there is something to strike. What calls do wrong is drawn call by call. */
import type { LaneRecord } from '@doorbuster/core';
import { crashPoints, type Machine } from './machine.ts';
import type { Operator } from './operator.ts';
import { calmAfterMs, type OperatorAct, type Step } from './plan.ts';
import type { Restores } from './restore.ts';
import type { ServerProcess } from './server-process.ts';
import type { Shop, ShopCampaign } from './shop.ts';

const dayMs = 86_400_000;
/** A fault that finds no server, or whose moment does not come, is looked at again after this long. */
const againMs = 400;
const longestWaitMs = 4_000;

type FaultStep = Extract<Step, { who: 'fault' }>;
/** The worst moments: the records of a commit, or a voucher on its way. */
const moments = ['SOLD_OUT', 'OPENED', 'ENTRY', 'PROMOTED', 'REOPENED', 'sending', 'sending'] as const;

interface Lurking {
  readonly step: FaultStep;
  readonly moment: (typeof moments)[number];
}

export class Faults {
  readonly #machine: Machine;
  readonly #shop: Shop;
  readonly #server: () => ServerProcess | null;
  readonly #operator: Operator;
  readonly #restores: Restores;
  readonly #bug: (error: unknown) => void;
  #lurking: Lurking[] = [];
  /** The operator's hand on whoever's voucher is on its way while a worker is stopped. */
  #steps = 0;

  constructor(parts: {
    readonly machine: Machine;
    readonly shop: Shop;
    readonly server: () => ServerProcess | null;
    readonly operator: Operator;
    readonly restores: Restores;
    readonly bug: (error: unknown) => void;
  }) {
    this.#machine = parts.machine;
    this.#shop = parts.shop;
    this.#server = parts.server;
    this.#operator = parts.operator;
    this.#restores = parts.restores;
    this.#bug = parts.bug;
    parts.machine.commits.onCommit(({ campaignId, records }) => this.#committed(campaignId, records));
  }

  /** Strikes, or comes back when there is nothing to strike now. */
  strike(step: FaultStep): void {
    const { world } = this.#machine;
    if (!world.faulty) return;
    if (this.#server() === null || !this.#begin(step)) world.after(againMs, () => this.strike(step));
  }

  /** From now on nothing breaks, and what is broken is mended. */
  end(): void {
    const machine = this.#machine;
    machine.world.faulty = false;
    machine.writerDelayMs = 0;
    machine.stuckUntil = 0;
    machine.atNextCommit = null;
    machine.crash.disarm();
    this.#lurking = [];
    machine.disk.free();
    machine.world.clock.right();
    for (const worker of this.#server()?.workers ?? []) worker.resume();
  }

  /** False: not now. */
  #begin(step: FaultStep): boolean {
    const machine = this.#machine;
    const { world } = machine;
    const { kind, size } = step;
    switch (kind) {
      case 'crash':
        return this.#crash(size);
      case 'crash-before-commit':
      case 'lost-commit-reply':
        if (machine.atNextCommit !== null) return false;
        machine.atNextCommit = kind;
        return true;
      case 'slow-writer': {
        const delayMs = Math.round(50 + size * 1_200);
        world.fault(kind, delayMs);
        machine.writerDelayMs = delayMs;
        world.after(3_000, () => void (machine.writerDelayMs = 0));
        return true;
      }
      case 'stuck-writer': {
        const stuckMs = Math.round(5_000 + size * 15_000);
        world.fault(kind, stuckMs);
        machine.stuckUntil = world.now + stuckMs;
        return true;
      }
      case 'disk-full':
        world.fault(kind);
        machine.disk.fill();
        world.after(800 + size * 4_000, () => machine.disk.free());
        return true;
      case 'paused-worker':
        return this.#pauseWorker(size);
      case 'clock-step': {
        const stepMs = Math.round((size * 2 - 1) * dayMs);
        world.fault(kind, stepMs);
        world.clock.step(stepMs);
        return true;
      }
      case 'clock-skew': {
        const share = size * 0.04 - 0.02;
        world.fault(kind, Math.round(share * 1e6));
        world.clock.skew(share);
        return true;
      }
      case 'restored-backup':
        return this.#restore(size);
      case 'operator':
        return this.#lurk(step);
    }
  }

  #crash(size: number): boolean {
    const { world, crash } = this.#machine;
    if (crash.isArmed) return false;
    const place = size * (crashPoints.length + 1);
    const point = crashPoints[Math.floor(place)];
    const now = (): void => {
      const server = this.#server();
      if (server === null) return;
      world.fault('crash', 'timer');
      server.kill();
    };
    if (point === undefined) {
      now();
      return true;
    }
    crash.arm(point, 1 + Math.floor((place % 1) * 12));
    world.after(longestWaitMs, () => {
      if (!crash.isArmed || !world.faulty) return;
      crash.disarm();
      now();
    });
    return true;
  }

  #pauseWorker(size: number): boolean {
    const { world } = this.#machine;
    const server = this.#server();
    const number = Math.floor(size * 2);
    const worker = server?.workers[number];
    if (worker === undefined || worker.paused) return false;
    worker.pauseAtNextCall(() => {
      world.fault('paused-worker', number);
      const lasts = 17_000 + size * 8_000;
      this.#machine.standstills.push({ from: world.now, to: world.now + lasts });
      world.after(lasts, () => worker.resume());
      world.after(2_000, () => this.#revokeOneSending(`paused ${number} ${world.now}`));
    });
    return true;
  }

  /** The copy is taken now, and put back some seconds later: what was acknowledged in between is gone. */
  #restore(size: number): boolean {
    const { world } = this.#machine;
    if (!this.#restores.takeBackup()) return false;
    const putBack = (): void => {
      if (!world.faulty) return;
      if (world.now > calmAfterMs - 3_000) return;
      this.#server()?.kill();
      world.fault('restored-backup');
      this.#restores.putBack();
    };
    world.after(1_000 + size * 12_000, putBack);
    return true;
  }

  // --- the operator at the worst moment -----------------------------------------------------------------------------------------------

  #lurk(step: FaultStep): boolean {
    const { world } = this.#machine;
    const moment = moments[Math.floor(step.size * moments.length)] ?? 'sending';
    const lurking = { step, moment };
    this.#lurking.push(lurking);
    world.after(longestWaitMs, () => {
      if (!this.#lurking.includes(lurking) || !world.faulty) return;
      this.#lurking = this.#lurking.filter((one) => one !== lurking);
      this.#act(step, step.strike.campaign, step.strike.act, 'late');
    });
    return true;
  }

  #committed(campaignId: string, records: readonly LaneRecord[]): void {
    if (!this.#machine.world.faulty || this.#lurking.length === 0) return;
    const campaign = this.#shop.campaigns.find(({ id }) => id === campaignId);
    if (campaign === undefined) return;
    for (const lurking of this.#lurking) {
      const record = records.find(({ type }) => type === lurking.moment);
      if (record === undefined) continue;
      this.#lurking = this.#lurking.filter((one) => one !== lurking);
      this.#act(lurking.step, campaign, aimedAt(lurking.step.strike.act, record), lurking.moment);
    }
  }

  /** Called for every message and voucher that is about to leave. */
  sending(campaignId: string, seq: number): void {
    const lurking = this.#lurking.find(({ moment }) => moment === 'sending');
    const campaign = this.#shop.campaigns.find(({ id }) => id === campaignId);
    if (lurking === undefined || campaign === undefined || !this.#machine.world.faulty) return;
    this.#lurking = this.#lurking.filter((one) => one !== lurking);
    const type = (lurking.step.size * 1e4) % 1 < 0.6 ? 'revoke' : 'replace';
    this.#act(lurking.step, campaign, { act: 'command', command: { type, seq } }, 'sending');
  }

  #act(step: FaultStep, campaign: ShopCampaign, act: OperatorAct, moment: string): void {
    const { world } = this.#machine;
    world.fault('operator', act.act === 'command' ? act.command.type : act.act, moment);
    this.#do(campaign, act, `step ${step.id}`);
    if (act.act === 'command' && act.command.type === 'pause')
      world.after(2_500, () =>
        this.#do(campaign, { act: 'command', command: { type: 'resume' } }, `resume ${step.id}`),
      );
  }

  #do(campaign: ShopCampaign, act: OperatorAct, stream: string): void {
    const random = this.#machine.world.random(stream);
    void this.#operator.act(campaign, act, random).catch((error) => this.#bug(error));
  }

  /** The operator takes a grant back whose delivery is in somebody's hands. */
  #revokeOneSending(stream: string): void {
    const server = this.#server();
    if (server === null || !this.#machine.world.faulty) return;
    const rows = server.db
      .prepare(
        "SELECT c.id, d.seq FROM deliveries d JOIN campaigns c USING (campaign) WHERE d.state = 'sending' LIMIT 1",
      )
      .all() as unknown as readonly { readonly id: string; readonly seq: number }[];
    for (const { id, seq } of rows) {
      const campaign = this.#shop.campaigns.find((one) => one.id === id);
      this.#steps += 1;
      if (campaign)
        this.#do(campaign, { act: 'command', command: { type: 'revoke', seq } }, `${stream} ${this.#steps}`);
    }
  }
}

/** An operator who looks at what just happened names that entry. */
function aimedAt(act: OperatorAct, record: LaneRecord): OperatorAct {
  if (act.act !== 'command' || !('seq' in record)) return act;
  const { type } = act.command;
  return type === 'revoke' || type === 'replace'
    ? { act: 'command', command: { type, seq: record.seq } }
    : act;
}
