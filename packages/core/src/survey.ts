/**
 * Surveys: a definition, the check of a definition at publish, the check of answers at every entry, screening, and aggregation.
 */

/** Text per language; `ko` is the default language, at least one is present. */
export interface LocalizedText {
  readonly ko?: string;
  readonly en?: string;
}

export interface SurveyOption {
  /** [a-z0-9-]{1,64}, unique in its question. */
  readonly id: string;
  readonly label: LocalizedText;
}

/** A question is asked only if the earlier question's answer satisfies the condition. */
export interface SurveyCondition {
  readonly question: string;
  /** For single and multiple: asked when one of these options was chosen. */
  readonly anyOf?: readonly string[];
  /** For number and scale: asked when the answer lies in the range, ends included. */
  readonly min?: number;
  readonly max?: number;
}

interface QuestionBase {
  /** [a-z0-9-]{1,64}, unique in the survey. */
  readonly id: string;
  readonly label: LocalizedText;
  readonly required?: boolean;
  readonly showIf?: SurveyCondition;
}
export interface SingleQuestion extends QuestionBase {
  readonly type: 'single';
  readonly options: readonly SurveyOption[];
  /** Screening: an answer outside these options makes the member ineligible. */
  readonly qualifying?: readonly string[];
}
export interface MultipleQuestion extends QuestionBase {
  readonly type: 'multiple';
  readonly options: readonly SurveyOption[];
  readonly minChoices?: number;
  readonly maxChoices?: number;
  /** Screening: at least one of these options must be chosen. */
  readonly qualifying?: readonly string[];
}
export interface TextQuestion extends QuestionBase {
  readonly type: 'text';
  /** In characters; default 500, at most 2,000. */
  readonly maxLength?: number;
}
export interface NumberQuestion extends QuestionBase {
  readonly type: 'number';
  readonly min?: number;
  readonly max?: number;
  readonly integer?: boolean;
  /** Screening: the range that qualifies, ends included. */
  readonly qualifying?: { readonly min?: number; readonly max?: number };
}
export interface ScaleQuestion extends QuestionBase {
  readonly type: 'scale';
  /** Whole numbers; default 1 to 5. */
  readonly min?: number;
  readonly max?: number;
  readonly minLabel?: LocalizedText;
  readonly maxLabel?: LocalizedText;
}
export type SurveyQuestion =
  | SingleQuestion
  | MultipleQuestion
  | TextQuestion
  | NumberQuestion
  | ScaleQuestion;

export interface SurveyDefinition {
  readonly questions: readonly SurveyQuestion[];
  /** The reason shown to a member whose answers do not qualify. */
  readonly screeningReason?: LocalizedText;
}

export type SurveyAnswer = string | number | readonly string[];
/** By question id. single: option id; multiple: option ids; text: string; number, scale: number. */
export type SurveyAnswers = { readonly [questionId: string]: SurveyAnswer };

/** A fault in a definition or in answers: `pointer` is a JSON pointer into what was checked. */
export interface SurveyFault {
  readonly pointer: string;
  readonly message: string;
}

export type Language = 'ko' | 'en';

/** The text in the language, else in the other one. */
export function textIn(text: LocalizedText, language: Language): string {
  return text[language] ?? text.ko ?? text.en ?? '';
}

/** The limits of a definition. */
export const surveyLimits = {
  questions: 50,
  options: 100,
  labelLength: 4_000,
  textLength: 2_000,
  defaultTextLength: 500,
} as const;

/** The question must be answered when it is asked: said so, or because it screens. */
export function isRequired(question: SurveyQuestion): boolean {
  return question.required === true || ('qualifying' in question && question.qualifying !== undefined);
}

/** The ends of a scale, its defaults filled in. */
export function scaleRange(question: ScaleQuestion): { readonly min: number; readonly max: number } {
  return { min: question.min ?? 1, max: question.max ?? 5 };
}

/** True when the question is asked, given the answers to the questions before it (only asked ones are in there). */
export function isAsked(question: SurveyQuestion, answers: ReadonlyMap<string, SurveyAnswer>): boolean {
  const condition = question.showIf;
  if (condition === undefined) return true;
  const answer = answers.get(condition.question);
  if (answer === undefined) return false;
  if (typeof answer === 'number') return isInRange(answer, condition);
  const chosen = typeof answer === 'string' ? [answer] : answer;
  return condition.anyOf?.some((option) => chosen.includes(option)) ?? false;
}

/** Ends included; a missing end is open. */
export function isInRange(value: number, range: { readonly min?: number; readonly max?: number }): boolean {
  return (range.min === undefined || value >= range.min) && (range.max === undefined || value <= range.max);
}
