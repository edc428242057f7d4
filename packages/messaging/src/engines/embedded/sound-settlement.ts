/**
 * Settlements, looked at before they join a turn: types refuse what is refused here, JavaScript does not. The writer shares a transaction between all who ask, so
 * a value that it cannot take must be the trouble of the one who made it and of nobody else.
 */
import type { Letter, Settlement } from '../../engine.ts';

/** What is wrong, or undefined. */
export function faultOfSettlement(settlement: Settlement): string | undefined {
  if (!isObject(settlement)) return 'a settlement is an object';
  if (!isToken(settlement.token)) return 'the token of a settlement is that of its delivery';
  switch (settlement.kind) {
    case 'ack':
    case 'release':
      return undefined;
    case 'retry':
      if (!Number.isFinite(settlement.dueAt)) return 'dueAt of a retry is ms since the epoch';
      return typeof settlement.state === 'string' ? undefined : 'state of a retry is a text';
    case 'deadLetter':
      return faultOfLetter(settlement.letter);
    default:
      return `"${String((settlement as { kind?: unknown }).kind)}" is no kind of settlement`;
  }
}

function faultOfLetter(letter: Letter): string | undefined {
  if (!isObject(letter)) return 'a dead letter is an object';
  for (const name of ['id', 'reason', 'group', 'stateOnRedrive'] as const)
    if (typeof letter[name] !== 'string') return `${name} of a dead letter is a text`;
  if (!Number.isFinite(letter.at)) return 'at of a dead letter is ms since the epoch';
  const { history } = letter;
  const isSound =
    Array.isArray(history) &&
    history.every(
      (one: unknown) =>
        isObject(one) &&
        Number.isFinite(one['attempt']) &&
        [one['at'], one['kind'], one['reason']].every((value) => typeof value === 'string'),
    );
  return isSound ? undefined : 'history of a dead letter is a list of failures';
}

export function isToken(token: unknown): boolean {
  return typeof token === 'number' || typeof token === 'string';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
