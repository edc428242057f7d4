/**
 * Counting answers as they stream by: memory grows with the definition, never with the entries. Answers are those that
 * `CompiledSurvey.check` returned.
 */
import type { SurveyAnswer, SurveyAnswers, SurveyDefinition, SurveyQuestion } from './survey.ts';
import { scaleRange } from './survey.ts';

/** One option or one step of a scale. */
export interface ChoiceCount {
  /** The option's id, or the step as text. */
  readonly choice: string;
  readonly count: number;
  /** Of those who answered the question, 0..1; 0 when nobody did. With multiple choices the shares may sum to more than 1. */
  readonly share: number;
}
/** Null while nobody answered. */
export interface NumberSummary {
  readonly mean: number;
  readonly min: number;
  readonly max: number;
}
interface ResultBase {
  readonly question: string;
  /** How many answered it. */
  readonly answered: number;
}
export type QuestionResult =
  | (ResultBase & { readonly type: 'single' | 'multiple'; readonly choices: readonly ChoiceCount[] })
  | (ResultBase & {
      readonly type: 'scale';
      readonly choices: readonly ChoiceCount[];
      readonly summary: NumberSummary | null;
    })
  | (ResultBase & { readonly type: 'number'; readonly summary: NumberSummary | null })
  /** `answered` is the number of texts; the texts themselves are listed with the entries. */
  | (ResultBase & { readonly type: 'text' });

export interface SurveyResult {
  /** How many entries were added. */
  readonly entries: number;
  /** In the order of the definition. */
  readonly questions: readonly QuestionResult[];
}

export interface SurveyTally {
  add(answers: SurveyAnswers): void;
  result(): SurveyResult;
}

export function createSurveyTally(definition: SurveyDefinition): SurveyTally {
  const counters = definition.questions.map(counterOf);
  let entries = 0;
  return {
    add(answers) {
      entries++;
      for (const counter of counters) {
        if (Object.hasOwn(answers, counter.question.id))
          count(counter, answers[counter.question.id] as SurveyAnswer);
      }
    },
    result: () => ({ entries, questions: counters.map(resultOf) }),
  };
}

interface Counter {
  readonly question: SurveyQuestion;
  answered: number;
  readonly counts: Map<string, number>;
  sum: number;
  min: number;
  max: number;
}

function counterOf(question: SurveyQuestion): Counter {
  const counts = new Map(choicesOf(question).map((choice) => [choice, 0]));
  return {
    question,
    answered: 0,
    counts,
    sum: 0,
    min: Number.POSITIVE_INFINITY,
    max: Number.NEGATIVE_INFINITY,
  };
}

/** What can be counted one by one: options, steps of a scale; nothing for texts and free numbers. */
function choicesOf(question: SurveyQuestion): string[] {
  if (question.type === 'single' || question.type === 'multiple')
    return question.options.map((option) => option.id);
  if (question.type !== 'scale') return [];
  const { min, max } = scaleRange(question);
  return Array.from({ length: max - min + 1 }, (_, step) => String(min + step));
}

function chosenOf(answer: SurveyAnswer): readonly string[] {
  return typeof answer === 'object' ? answer : [String(answer)];
}

function count(counter: Counter, answer: SurveyAnswer): void {
  counter.answered++;
  if (typeof answer === 'number') {
    counter.sum += answer;
    counter.min = Math.min(counter.min, answer);
    counter.max = Math.max(counter.max, answer);
  }
  if (counter.counts.size === 0) return;
  for (const choice of chosenOf(answer)) counter.counts.set(choice, (counter.counts.get(choice) ?? 0) + 1);
}

function resultOf(counter: Counter): QuestionResult {
  const { question, answered, sum, min, max } = counter;
  const summary = answered === 0 ? null : { mean: sum / answered, min, max };
  const choices = [...counter.counts].map(([choice, n]) => ({
    choice,
    count: n,
    share: answered === 0 ? 0 : n / answered,
  }));
  const base = { question: question.id, answered };
  switch (question.type) {
    case 'single':
    case 'multiple':
      return { ...base, type: question.type, choices };
    case 'scale':
      return { ...base, type: 'scale', choices, summary };
    case 'number':
      return { ...base, type: 'number', summary };
    case 'text':
      return { ...base, type: 'text' };
  }
}

/** Two questions against each other: how many gave both answers. */
export interface CrossTabResult {
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** `counts[row][column]`. Entries that answered both questions; with multiple choices one entry counts in several cells. */
  readonly counts: readonly (readonly number[])[];
  /** Entries that answered both. */
  readonly answered: number;
}

export interface CrossTab {
  add(answers: SurveyAnswers): void;
  result(): CrossTabResult;
}

/** Questions that a cross-table can show: single, multiple and scale. */
export function isCrossTabbable(definition: SurveyDefinition, question: string): boolean {
  const found = definition.questions.find((other) => other.id === question);
  return found !== undefined && choicesOf(found).length > 0;
}

/** Throws a `RangeError` on a question that is unknown or has no choices (`isCrossTabbable`). */
export function createCrossTab(
  definition: SurveyDefinition,
  rowQuestion: string,
  columnQuestion: string,
): CrossTab {
  const [rows, columns] = [rowQuestion, columnQuestion].map((id) => {
    const question = definition.questions.find((other) => other.id === id);
    const choices = question === undefined ? [] : choicesOf(question);
    if (choices.length === 0) throw new RangeError(`question ${id} cannot be in a cross-table`);
    return choices;
  }) as [string[], string[]];
  const counts = rows.map(() => columns.map(() => 0));
  let answered = 0;
  return {
    add(answers) {
      if (!Object.hasOwn(answers, rowQuestion) || !Object.hasOwn(answers, columnQuestion)) return;
      answered++;
      for (const row of chosenOf(answers[rowQuestion] as SurveyAnswer)) {
        const cells = counts[rows.indexOf(row)];
        if (cells === undefined) continue;
        for (const column of chosenOf(answers[columnQuestion] as SurveyAnswer)) {
          const index = columns.indexOf(column);
          if (index >= 0) cells[index] = (cells[index] as number) + 1;
        }
      }
    },
    result: () => ({ rows, columns, counts: counts.map((cells) => cells.slice()), answered }),
  };
}
