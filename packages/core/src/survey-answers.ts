/**
 * The check of answers, made at every entry: the definition is compiled once per campaign, so that an entry costs a look-up per
 * question. Answers come from strangers: only own fields are read, and nothing here throws on any JSON value.
 */
import type {
  MultipleQuestion,
  NumberQuestion,
  ScaleQuestion,
  SurveyAnswer,
  SurveyAnswers,
  SurveyDefinition,
  SurveyFault,
  SurveyQuestion,
  TextQuestion,
} from './survey.ts';
import { isAsked, isInRange, isRequired, scaleRange, surveyLimits } from './survey.ts';
import { isObject, pointerPart } from './survey-definition.ts';

export type SurveyCheck =
  | {
      readonly ok: true;
      /** Asked and answered questions only, in the order of the definition; options in the order of the question. */
      readonly answers: SurveyAnswers;
      /** True when an answer does not qualify. */
      readonly screenedOut: boolean;
    }
  | { readonly ok: false; readonly faults: readonly SurveyFault[] };

export interface CompiledSurvey {
  readonly definition: SurveyDefinition;
  check(answers: unknown): SurveyCheck;
}

/** One question's answer read: the value, or why not. `undefined` counts as not answered. */
type Read = { readonly value: SurveyAnswer | undefined } | { readonly fault: string };

interface Step {
  readonly question: SurveyQuestion;
  readonly required: boolean;
  readonly read: (given: unknown) => Read;
  readonly qualifies: (answer: SurveyAnswer) => boolean;
}

/** Needs a definition without faults (`checkSurveyDefinition`). */
export function compileSurvey(definition: SurveyDefinition): CompiledSurvey {
  const steps = definition.questions.map(
    (question): Step => ({
      question,
      required: isRequired(question),
      read: readerOf(question),
      qualifies: screenOf(question),
    }),
  );
  const known = new Set(definition.questions.map((question) => question.id));
  return { definition, check: (answers) => checkAnswers(steps, known, answers) };
}

function checkAnswers(steps: readonly Step[], known: ReadonlySet<string>, given: unknown): SurveyCheck {
  if (!isObject(given))
    return { ok: false, faults: [{ pointer: '', message: 'must be an object of answers' }] };
  const faults: SurveyFault[] = [];
  for (const id of Object.keys(given)) {
    if (!known.has(id))
      faults.push({ pointer: `/${pointerPart(id)}`, message: 'is not a question of this survey' });
  }
  const answers = new Map<string, SurveyAnswer>();
  let screenedOut = false;
  for (const step of steps) {
    const { id } = step.question;
    const fault = takeAnswer(step, Object.hasOwn(given, id) ? given[id] : undefined, answers);
    if (fault !== null) faults.push({ pointer: `/${id}`, message: fault });
    const answer = answers.get(id);
    if (answer !== undefined && !step.qualifies(answer)) screenedOut = true;
  }
  if (faults.length > 0) return { ok: false, faults };
  return { ok: true, answers: Object.fromEntries(answers), screenedOut };
}

/** Keeps the answer of an asked question; the fault, or null. */
function takeAnswer(step: Step, given: unknown, answers: Map<string, SurveyAnswer>): string | null {
  const { question, required, read } = step;
  if (!isAsked(question, answers))
    return given === undefined ? null : 'was not asked: its condition does not hold';
  if (given === undefined) return required ? 'must be answered' : null;
  const result = read(given);
  if ('fault' in result) return result.fault;
  if (result.value === undefined) return required ? 'must be answered' : null;
  answers.set(question.id, result.value);
  return null;
}

function readerOf(question: SurveyQuestion): (given: unknown) => Read {
  switch (question.type) {
    case 'single': {
      const options = new Set(question.options.map((option) => option.id));
      return (given) => {
        if (given === '') return { value: undefined };
        return typeof given === 'string' && options.has(given)
          ? { value: given }
          : { fault: 'must be one of the options' };
      };
    }
    case 'multiple':
      return multipleReader(question);
    case 'text':
      return (given) => readText(question, given);
    case 'number':
      return (given) => readNumber(question, given);
    case 'scale':
      return (given) => readScale(question, given);
  }
}

/** An empty list counts as not answered, as an empty text does: a form sends both. */
function multipleReader(question: MultipleQuestion): (given: unknown) => Read {
  const order = question.options.map((option) => option.id);
  const options = new Set(order);
  const { minChoices = 0, maxChoices = order.length } = question;
  return (given) => {
    if (!Array.isArray(given) || given.length > order.length) return { fault: 'must be a list of options' };
    if (given.length === 0) return { value: undefined };
    const chosen = new Set<unknown>(given);
    if (chosen.size !== given.length) return { fault: 'must not name an option twice' };
    for (const option of chosen)
      if (!options.has(option as string)) return { fault: 'must name options of the question only' };
    if (chosen.size < minChoices) return { fault: `must name at least ${minChoices} options` };
    if (chosen.size > maxChoices) return { fault: `must name at most ${maxChoices} options` };
    return { value: order.filter((option) => chosen.has(option)) };
  };
}

function readText(question: TextQuestion, given: unknown): Read {
  if (typeof given !== 'string') return { fault: 'must be a text' };
  if (!given.isWellFormed() || given.includes('\0')) return { fault: 'must be a text of whole characters' };
  if (given.trim() === '') return { value: undefined };
  const highest = question.maxLength ?? surveyLimits.defaultTextLength;
  const tooLong = given.length > highest && (given.length > highest * 2 || charactersOf(given) > highest);
  return tooLong ? { fault: `must have at most ${highest} characters` } : { value: given };
}

/** Code points: what a person counts, nearly, and what does not depend on the language of the program. */
function charactersOf(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function readNumber(question: NumberQuestion, given: unknown): Read {
  if (typeof given !== 'number' || !Number.isFinite(given)) return { fault: 'must be a number' };
  if (question.integer === true && !Number.isSafeInteger(given)) return { fault: 'must be a whole number' };
  if (!isInRange(given, question)) return { fault: rangeMessage(question) };
  return { value: given === 0 ? 0 : given };
}

function rangeMessage({ min, max }: NumberQuestion): string {
  if (min === undefined) return `must be at most ${max}`;
  return max === undefined ? `must be at least ${min}` : `must be from ${min} to ${max}`;
}

function readScale(question: ScaleQuestion, given: unknown): Read {
  const { min, max } = scaleRange(question);
  const fits = Number.isInteger(given) && isInRange(given as number, { min, max });
  return fits
    ? { value: given === 0 ? 0 : (given as number) }
    : { fault: `must be a whole number from ${min} to ${max}` };
}

/** Whether an answer lets the member take part. */
function screenOf(question: SurveyQuestion): (answer: SurveyAnswer) => boolean {
  if (question.type === 'number' && question.qualifying !== undefined) {
    const range = question.qualifying;
    return (answer) => isInRange(answer as number, range);
  }
  if ((question.type === 'single' || question.type === 'multiple') && question.qualifying !== undefined) {
    const qualifying = new Set(question.qualifying);
    return (answer) =>
      (typeof answer === 'string' ? [answer] : (answer as readonly string[])).some((id) =>
        qualifying.has(id),
      );
  }
  return () => true;
}
