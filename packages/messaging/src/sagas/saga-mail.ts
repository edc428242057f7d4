/**
 * How a step that waits goes through the mail of its instance; pure, and stored with the state as its `look`.
 *
 *   not looked at by this step --asked--> taken: read | not the one: kept for the steps after it | thrown: asked about again after the step's retries
 *   the last of its retries thrown --> left to a person: unread, and this step does not look at it again
 *
 * Mail of an instance has places, counted up, so one number tells how far a step has come. It is of one step: the next one looks at everything that nobody has taken, which is how
 * an answer that came before its question finds it. What waits for a retry does not hold up what came behind it: an answer among a hundred messages that throw is still taken.
 */
import type { FailingMail, MailLook, SagaState } from './saga-state.ts';
import type { KeptSagaMail } from './saga-store.ts';

/** Of the step at `at`; of one that has looked at nothing yet, when the stored look is that of an earlier step. */
export function lookOf({ at, look }: SagaState): MailLook {
  return look?.step === at ? look : { step: at, upTo: 0, failing: [] };
}

/** Without what is not there any more: it would be due for ever, and nobody could be asked about it. */
export function lookThrough(state: SagaState, mail: readonly KeptSagaMail[]): MailLook {
  const look = lookOf(state);
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

/** When the step has to be asked again, ms since the epoch; undefined: not before more mail comes. */
export function againAt({ failing }: MailLook): number | undefined {
  return failing.reduce<number | undefined>(
    (first, { againAt: at }) => (first === undefined ? at : Math.min(first, at)),
    undefined,
  );
}
