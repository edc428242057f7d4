/**
 * What each member of the demo's crowd does. Drawn once from a seed, before anything is sent, so that a run can be repeated.
 * People are as they are: some come early, some click twice, some come back to look, some arrive late, some programs send rubbish.
 */
import { seededRandom } from './random.ts';

export type ActKind =
  /** A plain entry. */
  | 'entry'
  /** The same request twice at once: an impatient double click. */
  | 'double'
  /** The entry, and the same again after its answer. */
  | 'retry'
  /** Before the opening, then again after it. */
  | 'early'
  /** Broken JSON, then the right request. */
  | 'bad-json'
  /** An unknown field and a wrong answer, then the right request. */
  | 'bad-body'
  /** A session somebody tampered with, then the right one. */
  | 'bad-session';

export interface Act {
  /** 0..entrants-1 */
  readonly member: number;
  readonly kind: ActKind;
  /** Comes this long after the opening, ms. */
  readonly arrivesAfterMs: number;
}

const shares: readonly (readonly [ActKind, number])[] = [
  ['double', 0.08],
  ['retry', 0.05],
  ['early', 0.02],
  ['bad-json', 0.01],
  ['bad-body', 0.01],
  ['bad-session', 0.01],
];

/** Share of members who arrive late, spread over `lateMs`. */
const LATE_SHARE = 0.15;

/** One act per member in order of arrival. */
export function planCrowd(entrants: number, seed: number, lateMs: number): readonly Act[] {
  const random = seededRandom(seed);
  const acts = Array.from({ length: entrants }, (_, member): Act => {
    let draw = random();
    const share = shares.find(([, size]) => (draw -= size) < 0);
    return {
      member,
      kind: share?.[0] ?? 'entry',
      arrivesAfterMs: random() < LATE_SHARE ? Math.round(random() * lateMs) : 0,
    };
  });
  for (let i = acts.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [acts[i], acts[j]] = [acts[j] as Act, acts[i] as Act];
  }
  return acts.sort((a, b) => a.arrivesAfterMs - b.arrivesAfterMs);
}

export const memberIdOf = (member: number): string => `member-${String(member + 1).padStart(6, '0')}`;
export const emailOf = (member: number): string => `${memberIdOf(member)}@shop.example`;
