/**
 * What happens in each cycle, drawn from the seed before anything runs: who comes, when the blow falls, and which. Timing is the machine's; a seed gives the
 * same plan again, not the same interleaving.
 *
 * Half of the cycles are plain kills at a random acknowledgement. The others go round all failpoints and the stop, so that a few dozen cycles reach each.
 */
import { seededRandom } from '../packages/server/src/cli/demo/random.ts';
import { type Failpoint, type FailpointName, failpointNames, failpointOf } from './failpoints.ts';

export interface Crowding {
  readonly kind: 'direct' | 'waitlist' | 'survey' | 'queued';
  readonly members: number;
  readonly units: number;
  readonly waitlistLimit: number;
}

export interface Plan {
  /** Also the campaign's id. */
  readonly name: string;
  readonly crowding: Crowding;
  /** What ends or stops the server while the crowd enters. */
  readonly blow: 'kill' | 'stop' | FailpointName;
  /** A failpoint with `start`: strikes at the start after the blow; `import`: before the opening; `backup`: in the process of a backup. */
  readonly beside: FailpointName | null;
  /** The failpoint strikes at this hit. */
  readonly nth: number;
  /** The blow falls at this share of the acknowledgements that there can be. */
  readonly blowAt: number;
  /** Through a proxy that loses answers. */
  readonly losesAnswers: boolean;
  /** The end of the WALs is torn after a kill, as by a power cut in the middle of a write. */
  readonly tearsTails: boolean;
  readonly connections: number;
  readonly seed: number;
}

export const cyclesPerLife = 10;

const crowdings: readonly Crowding[] = [
  { kind: 'direct', members: 110, units: 60, waitlistLimit: 0 },
  { kind: 'waitlist', members: 110, units: 35, waitlistLimit: 40 },
  { kind: 'survey', members: 100, units: 60, waitlistLimit: 10 },
  { kind: 'queued', members: 90, units: 50, waitlistLimit: 20 },
];

/** Everything that is not a plain kill, in the order in which the cycles go round. */
const specials: readonly ('stop' | FailpointName)[] = ['stop', ...failpointNames];

/**
 * The lives of a run, from `seed` on. The last one may be short: the beginning of the whole life, not a life of its own, because the command that is printed to
 * run a plan again runs whole lives.
 */
export function planLives(seed: number, cycles: number): readonly (readonly Plan[])[] {
  const lives: (readonly Plan[])[] = [];
  for (let left = cycles, life = seed; left > 0; left -= cyclesPerLife, life += 1)
    lives.push(planLife(life, cyclesPerLife).slice(0, left));
  return lives;
}

/** The plans of one life, that is of one data directory. `life` is a whole number; those after it go on with the round. */
export function planLife(life: number, cycles: number): readonly Plan[] {
  const random = seededRandom(life * 7_919 + 1);
  const special = Math.floor(cycles / 2);
  const first = life * Math.floor(cyclesPerLife / 2);
  const turns = Array.from({ length: cycles }, (_, i) =>
    i < special ? (specials[(first + i) % specials.length] as 'stop' | FailpointName) : 'kill',
  );
  return killFirst(shuffle(turns, random)).map((turn, i) =>
    drawPlan(`life-${life}-cycle-${i + 1}`, turn, random),
  );
}

/** The first server of a life is started before anything is planned for it. */
function killFirst<T>(turns: readonly (T | 'kill')[]): (T | 'kill')[] {
  const first = turns.indexOf('kill');
  return ['kill', ...turns.slice(0, first), ...turns.slice(first + 1)];
}

function drawPlan(name: string, turn: 'kill' | 'stop' | FailpointName, random: () => number): Plan {
  const failpoint = turn === 'kill' || turn === 'stop' ? null : failpointOf(turn);
  const phase = failpoint?.phase ?? null;
  const strikesServing = phase === 'serving' || phase === 'direct' || phase === 'queued';
  const isPlain = phase === null || strikesServing;
  const choice = crowdings.filter(({ kind }) => fits(kind, phase));
  return {
    name,
    crowding: choice[Math.floor(random() * choice.length)] as Crowding,
    blow: isPlain ? turn : 'kill',
    beside: isPlain || turn === 'kill' || turn === 'stop' ? null : turn,
    nth: failpoint?.seldom ? 1 : 1 + Math.floor(random() * 3),
    // A failpoint may be met later than the acknowledgement that arms it.
    blowAt: strikesServing ? 0.02 + 0.2 * random() : 0.02 + 0.6 * random(),
    losesAnswers: random() < 0.25,
    tearsTails: turn === 'kill' && random() < 0.4,
    connections: 6 + Math.floor(random() * 11),
    seed: Math.floor(random() * 2 ** 31),
  };
}

const fits = (kind: Crowding['kind'], phase: Failpoint['phase'] | null): boolean =>
  phase === 'direct' ? kind !== 'queued' : phase === 'queued' ? kind === 'queued' : true;

function shuffle<T>(items: readonly T[], random: () => number): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] as T, order[i] as T];
  }
  return order;
}

/** How many acknowledgements there can be: direct answers 201 to who is in, the queue answers 202 to everybody who comes before it is sold out. */
export function acknowledgements({ units, waitlistLimit }: Crowding): number {
  return units + waitlistLimit;
}
