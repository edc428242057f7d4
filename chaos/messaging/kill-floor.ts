/**
 * How many kills a run has to meet before its zeros say anything. A quick machine is through with its messages before that, so it publishes more until it has met
 * them, and begins with that while there is still something to publish: whoever is killed was at work, and no number of messages has to be right for a machine.
 */
export interface Kills {
  readonly kills: number;
  /** Of these the publisher's. */
  readonly publisherKills: number;
}

/** Of a run in which nobody is killed, or only at chosen moments. */
export const noFloor: Kills = { kills: 0, publisherKills: 0 };

const isMet = (floor: Kills, met: Kills): boolean =>
  met.kills >= floor.kills && met.publisherKills >= floor.publisherKills;

/** How many messages the run has, now that so many are confirmed; `step` more than before while too few kills were met and no more than `step` are left. */
export function totalFor(
  run: { readonly total: number; readonly confirmed: number; readonly step: number },
  floor: Kills,
  met: Kills,
): number {
  const { total, confirmed, step } = run;
  return isMet(floor, met) || confirmed < total - step ? total : total + step;
}

export function tooFew(floor: Kills, met: Kills): string[] {
  return [
    ...(met.kills < floor.kills ? [`${met.kills} kills, at least ${floor.kills} are wanted`] : []),
    ...(met.publisherKills < floor.publisherKills
      ? [`${met.publisherKills} kills of the publisher, at least ${floor.publisherKills} is wanted`]
      : []),
  ];
}
