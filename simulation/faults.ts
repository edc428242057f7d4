/** What breaks in a run, and when: drawn before it starts. What providers, messengers and the network do wrong is drawn call by call. */
import { rushMs } from './crowd.ts';
import type { Machine, ServerProcess } from './server-process.ts';

export const calmAfterMs = 15_000 + rushMs;

const dayMs = 86_400_000;

const planned = [
  'crash',
  'crash',
  'crash-before-commit',
  'crash-before-commit',
  'lost-commit-reply',
  'lost-commit-reply',
  'slow-writer',
  'disk-full',
  'paused-worker',
  'paused-worker',
  'clock-step',
] as const;

export class Faults {
  readonly #machine: Machine;
  readonly #server: () => ServerProcess | null;
  readonly #revoke: (campaignId: string, seq: number) => void;
  /** How far the wall clock is off, ms. */
  #skewMs = 0;

  /** `revoke`: the operator's worst moment. */
  constructor(
    machine: Machine,
    server: () => ServerProcess | null,
    revoke: (campaignId: string, seq: number) => void,
  ) {
    this.#machine = machine;
    this.#server = server;
    this.#revoke = revoke;
  }

  begin(): void {
    const { world } = this.#machine;
    const random = world.random('faults');
    const count = random.integer(10, 16);
    for (let i = 0; i < count; i += 1) {
      // Most of them in the rush just after the opening, where they hurt.
      const kind = random.pick(planned);
      const size = random.share();
      const rush = kind === 'clock-step' ? [6_000, 12_000] : [9_000, 22_000];
      const [from = 0, to = 0] = random.chance(0.6) ? rush : [7_000, calmAfterMs - 1_000];
      const at = random.integer(from, to);
      world.after(at - world.now, () => this.#strike(kind, size));
    }
  }

  /** From now on nothing breaks, and what is broken is mended. */
  end(): void {
    const { world, disk } = this.#machine;
    world.faulty = false;
    this.#machine.writerDelayMs = 0;
    this.#machine.atNextCommit = null;
    disk.free();
    this.rightClock();
    for (const worker of this.#server()?.workers ?? []) worker.resume();
  }

  /** A machine gets its time before it starts programs. */
  rightClock(): void {
    this.#machine.world.clock.step(-this.#skewMs);
    this.#skewMs = 0;
  }

  #strike(kind: (typeof planned)[number], size: number): void {
    const { world, disk } = this.#machine;
    const server = this.#server();
    if (server === null) return;
    switch (kind) {
      case 'crash':
        world.fault(kind);
        return server.kill();
      case 'crash-before-commit':
      case 'lost-commit-reply':
        this.#machine.atNextCommit = kind;
        return;
      case 'slow-writer': {
        const delayMs = Math.round(50 + size * 1_500);
        world.fault(kind, delayMs);
        this.#machine.writerDelayMs = delayMs;
        world.after(4_000, () => void (this.#machine.writerDelayMs = 0));
        return;
      }
      case 'disk-full':
        world.fault(kind);
        disk.fill();
        world.after(1_000 + size * 5_000, () => disk.free());
        return;
      case 'paused-worker': {
        const number = Math.floor(size * 2);
        const worker = server.workers[number];
        worker?.pauseAtNextCall(() => {
          world.fault(kind, number);
          world.after(22_000 + size * 10_000, () => worker.resume());
          world.after(3_000, () => this.#revokeOneSending());
        });
        return;
      }
      case 'clock-step': {
        const stepMs = Math.round((size * 2 - 1) * dayMs);
        world.fault(kind, stepMs);
        this.#skewMs += stepMs;
        world.clock.step(stepMs);
        return;
      }
    }
  }

  /** The operator takes a grant back whose delivery is in somebody's hands. */
  #revokeOneSending(): void {
    const server = this.#server();
    if (server === null) return;
    const rows = server.db
      .prepare(
        "SELECT c.id, d.seq FROM deliveries d JOIN campaigns c USING (campaign) WHERE d.state = 'sending' LIMIT 1",
      )
      .all() as unknown as readonly { readonly id: string; readonly seq: number }[];
    for (const { id, seq } of rows) this.#revoke(id, seq);
  }
}
