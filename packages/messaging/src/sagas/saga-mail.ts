/**
 * How a step that waits goes through the mail of its instance; pure, and stored with the state as its `look`.
 *
 *   not looked at by this step --asked--> taken: read | not the one: kept for the steps after it | thrown: asked about again after the step's retries
 *   the last of its retries thrown, an answer that cannot be used or stored, or the fifth look that ended with its process --> left to a person: unread, and this step does not look
 *   at it again
 *
 * Which message it is that ends processes nobody can tell of a look at several: after such a look what is there is asked about and stored one by one, until all of it has been looked
 * through, and whose turn it is goes on record before it is asked about. So the ends count for it alone, and whatever else becomes due meanwhile waits.
 *
 * A message that is left to a person makes the outcome unknown, but not before everything that is there was asked about: the answer may be behind it, and a step that is undone when
 * its outcome is unknown would never hear it. Until then the reason is kept with the look.
 *
 * Mail of an instance has places, counted up, so one number tells how far a step has come. It is of one step: the next one looks at everything that nobody has taken, which is how
 * an answer that came before its question finds it. What waits for a retry does not hold up what came behind it: an answer among a hundred messages that throw is still taken.
 */
import type { StepOutcome } from '../saga.ts';
import { type FailingMail, type MailLook, type SagaState, waitsForMail } from './saga-state.ts';
import type { KeptSagaMail, SagaRecord } from './saga-store.ts';

/** Of the step at `at`; of one that has looked at nothing yet, when the stored look is that of an earlier step. */
export function lookOf({ at, look }: SagaState): MailLook {
  return look?.step === at ? look : { step: at, upTo: 0, failing: [] };
}

/** Goes on record with each lease on what waits for mail. */
export function withLookBegun(state: SagaState): SagaState {
  if (!waitsForMail(state)) return state;
  const look = lookOf(state);
  return { ...state, look: { ...look, begun: (look.begun ?? 0) + 1 } };
}

/** Looks before the one that is begun of which nothing was stored: their process ended, their lease was too short, or the store refused what came of them. */
export function abandonedLooks(state: SagaState): number {
  return Math.max(0, (lookOf(state).begun ?? 0) - 1);
}

/** When the time-out of the step is one lease ago, ms since the epoch; undefined: it is not time yet. */
function oneLeaseLate({ status, waitUntil }: SagaState, now: number, leaseMs: number): number | undefined {
  return status === 'waiting' && waitUntil !== undefined && now >= waitUntil
    ? waitUntil + leaseMs
    : undefined;
}

/**
 * Whether the time-out counts before anything is asked, of an instance that is due and not claimed. A look that ended may have ended for another reason than its mail, and the answer be in that: it
 * is asked about once more. Not when a message has ended a look by itself, nor when the lease that ended did so one lease after the time-out: it was that of the second look, or of one that began late.
 */
export function timeOutCounts({ state, dueAt = 0 }: SagaRecord, now: number, leaseMs: number): boolean {
  const last = oneLeaseLate(state, now, leaseMs);
  const { begun = 0, alone } = lookOf(state);
  return last !== undefined && begun > 0 && (alone !== undefined || dueAt >= last);
}

/**
 * The end of a lease that begins now. Of a look that follows one that ended it is at most one lease after the time-out, where that is still to come: the time-out would else wait for the end of two
 * leases. Who comes then asks nothing, so nobody is asked about a message at two processes because of it.
 */
export function leaseEnd(state: SagaState, now: number, leaseMs: number): number {
  const last = oneLeaseLate(state, now, leaseMs) ?? 0;
  const follows = abandonedLooks(state) > 0 || lookOf(state).alone !== undefined;
  return follows && last > now ? Math.min(last, now + leaseMs) : now + leaseMs;
}

/** Without what is not there any more: it would be due for ever, and nobody could be asked about it. What comes of this look is stored with it, so nothing counts as begun any more. */
export function lookThrough(state: SagaState, mail: readonly KeptSagaMail[]): MailLook {
  const { begun: _, ...look } = lookOf(state);
  const there = new Set(mail.map(({ messageId }) => messageId));
  return { ...look, failing: look.failing.filter(({ id }) => there.has(id)) };
}

/** What the step is to be asked about now, in the order of its coming. */
export function toLookAt(
  { upTo, failing }: MailLook,
  mail: readonly KeptSagaMail[],
  now: number,
): readonly KeptSagaMail[] {
  const again = new Set(failing.filter(({ againAt }) => againAt <= now).map(({ id }) => id));
  return mail.filter(({ place, messageId }) => place >= upTo || again.has(messageId));
}

/** What is asked about one by one, the one whose turn it is first; none: everything is asked about together. */
export function oneByOne(
  { alone }: MailLook,
  open: readonly KeptSagaMail[],
  abandoned: number,
): readonly KeptSagaMail[] {
  const left = alone ? open.filter(({ place }) => place < alone.before) : [];
  // What came since waits for the next look, or a time-out would wait for it.
  if (left.length === 0) return abandoned > 0 ? open : [];
  const others = left.filter(({ place }) => place !== alone?.at);
  return [...left.filter(({ place }) => place === alone?.at), ...others];
}

/** It is the turn of the first of them, none: everything is asked about together again. */
export function withTurn(look: MailLook, mail: readonly KeptSagaMail[]): MailLook {
  const { alone, ...together } = look;
  const [next] = mail;
  if (!next) return together;
  const before = mail.reduce((most, { place }) => Math.max(most, place + 1), alone?.before ?? 0);
  return { ...together, alone: { at: next.place, before } };
}

/** Of the looks before that ended one at most was at this message, together with others. */
export function withFirstTurn(look: MailLook, mail: readonly KeptSagaMail[], abandoned: number): MailLook {
  return { ...withTurn(look, mail), begun: Math.min(abandoned, 1) };
}

/** The step has answered, whatever it said. */
export function answered(look: MailLook, mail: KeptSagaMail): MailLook {
  return {
    ...look,
    upTo: Math.max(look.upTo, mail.place + 1),
    failing: look.failing.filter(({ id }) => id !== mail.messageId),
  };
}

/** The step threw: when it is asked again, or that its retries are used up. */
export function threw(
  look: MailLook,
  mail: KeptSagaMail,
  delays: readonly number[],
  now: number,
): { readonly look: MailLook; readonly givenUp: boolean } {
  const failures = look.failing.find(({ id }) => id === mail.messageId)?.failures ?? 0;
  const rest = answered(look, mail);
  const delay = delays[failures];
  if (delay === undefined) return { look: rest, givenUp: true };
  const failing: FailingMail = { id: mail.messageId, failures: failures + 1, againAt: now + delay };
  return { look: { ...rest, failing: [...rest.failing, failing] }, givenUp: false };
}

/** What a step said to a message that it took. */
export interface MailAnswer {
  readonly mail: KeptSagaMail;
  readonly outcome: StepOutcome;
}

/** What came of one look through the mail, until it is stored. */
export interface MailRound {
  /** The instance, with the look so far. */
  readonly record: SagaRecord;
  readonly read: readonly string[];
  /** In the order of asking; only the last one may end the waiting. */
  readonly answers: readonly MailAnswer[];
  /** Why the outcome is unknown when no answer ends the waiting; undefined: it is not. */
  readonly givenUp: string | undefined;
  /** What was to be looked at, and the step was not asked about. */
  readonly left: readonly KeptSagaMail[];
}

/** Gone through by this round, whatever came of it. */
export function passed({ left }: MailRound, mail: KeptSagaMail): readonly KeptSagaMail[] {
  return left.filter(({ messageId }) => messageId !== mail.messageId);
}

/** The instance, to be looked at again at once. */
export function goingOn({ record: { state }, givenUp }: MailRound): SagaState {
  return { ...state, look: { ...lookOf(state), ...(givenUp === undefined ? {} : { givenUp }) } };
}

/** `outcome` undefined: it is not for this step, and read when `isLastToAsk`. */
export function withAnswer(
  round: MailRound,
  mail: KeptSagaMail,
  outcome: StepOutcome | undefined,
  isLastToAsk: boolean,
): MailRound {
  const { record, read, answers } = round;
  const state = { ...record.state, look: answered(lookOf(record.state), mail) };
  return {
    ...round,
    record: { ...record, state },
    read: outcome || isLastToAsk ? [...read, mail.messageId] : read,
    answers: outcome ? [...answers, { mail, outcome }] : answers,
    left: passed(round, mail),
  };
}

/** The answers that may be why the store refuses the round: those that have it keep messages or a result, and when there are none the one that ends the waiting. */
export function suspectsOf({ answers }: MailRound): readonly MailAnswer[] {
  const weighty = answers.filter(
    ({ outcome }) =>
      (outcome.kind === 'done' && outcome.result !== undefined) ||
      ('messages' in outcome && outcome.messages.length > 0),
  );
  return weighty.length > 0 ? weighty : answers.filter(({ outcome }) => outcome.kind !== 'wait');
}

/** As if they had not been given. */
export function withoutAnswers(round: MailRound, gone: readonly MailAnswer[]): MailRound {
  const ids = new Set(gone.map(({ mail }) => mail.messageId));
  return {
    ...round,
    read: round.read.filter((id) => !ids.has(id)),
    answers: round.answers.filter(({ mail }) => !ids.has(mail.messageId)),
  };
}

/** When the step has to be asked again, ms since the epoch; undefined: not before more mail comes. */
export function againAt({ failing }: MailLook): number | undefined {
  return failing.reduce<number | undefined>(
    (first, { againAt: at }) => (first === undefined ? at : Math.min(first, at)),
    undefined,
  );
}
