/**
 * The survey as form fields, both ways: the names that the page writes, and the answers read from what a form posted. The two sides
 * live here together so that they cannot drift. What the answers are worth is core's to check; this only reads them.
 *
 * A form cannot say "not asked": a page without script shows conditional questions with a note. Answers to questions that the earlier
 * answers did not lead to are dropped here, as the script drops them in the browser.
 */
import {
  isAsked,
  type SurveyAnswer,
  type SurveyAnswers,
  type SurveyDefinition,
  type SurveyFault,
  type SurveyQuestion,
  scaleRange,
} from '@doorbuster/core';
import type { Locale } from './page-view.ts';
import { texts } from './texts.ts';

/** A parsed `application/x-www-form-urlencoded` body: a repeated name has an array. */
export type FormFields = Readonly<Record<string, unknown>>;

export interface FormAnswers {
  /** For core's check. A number that does not read as one stays text, so that the check refuses it. */
  readonly answers: SurveyAnswers;
  /** As typed, for `PageForm.values`. */
  readonly values: Readonly<Record<string, string | readonly string[]>>;
}

const prefix = 'q.';

export function fieldName(question: SurveyQuestion): string {
  return prefix + question.id;
}

/** Fields that are no question of the survey are left out: a form may carry others. */
export function answersFromForm(survey: SurveyDefinition | null, fields: FormFields): FormAnswers {
  const answers = new Map<string, SurveyAnswer>();
  const values = new Map<string, string | readonly string[]>();
  for (const question of survey?.questions ?? []) {
    const typed = typedOf(fields[fieldName(question)]);
    if (typed.length === 0) continue;
    values.set(question.id, question.type === 'multiple' ? typed : (typed[0] as string));
    if (isAsked(question, answers)) answers.set(question.id, answerOf(question, typed));
  }
  return { answers: Object.fromEntries(answers), values: Object.fromEntries(values) };
}

function typedOf(field: unknown): readonly string[] {
  const all = Array.isArray(field) ? field : [field];
  return all.filter((value): value is string => typeof value === 'string' && value.trim() !== '');
}

function answerOf(question: SurveyQuestion, typed: readonly string[]): SurveyAnswer {
  const first = typed[0] as string;
  switch (question.type) {
    case 'multiple':
      return typed;
    case 'number':
    case 'scale': {
      const value = Number(first);
      return Number.isFinite(value) ? value : first;
    }
    case 'single':
      return first;
    case 'text':
      // A form posts line breaks as two characters, a text area counts one.
      return first.replaceAll('\r\n', '\n');
  }
}

/**
 * Faults of core's check in the member's words, by question id. Core speaks to engineers and in English; here the message follows
 * from the question and from what was typed.
 */
export function localizedFaults(
  survey: SurveyDefinition,
  values: FormAnswers['values'],
  faults: readonly SurveyFault[],
  locale: Locale,
): Readonly<Record<string, string>> {
  const found = new Map<string, string>();
  for (const fault of faults) {
    const parts = fault.pointer.split('/');
    const question = survey.questions.find((q) => parts.includes(q.id));
    if (question)
      found.set(
        question.id,
        faultText(question, Object.hasOwn(values, question.id) ? values[question.id] : undefined, locale),
      );
  }
  return Object.fromEntries(found);
}

function faultText(
  question: SurveyQuestion,
  typed: string | readonly string[] | undefined,
  locale: Locale,
): string {
  const words = texts[locale];
  switch (question.type) {
    case 'single':
      return typed === undefined ? words.faults.required : words.faults.choice;
    case 'multiple':
      if (typed === undefined) return words.faults.requiredChoice;
      return constraintText(question, locale) ?? words.faults.choice;
    case 'text':
      return typed === undefined ? words.faults.required : words.faults.tooLong(question.maxLength ?? 500);
    case 'number':
    case 'scale':
      if (typed === undefined) return words.faults.required;
      return constraintText(question, locale) ?? words.faults.number;
  }
}

/** What an answer must keep to, for the hint under a question and for its fault; null when there is nothing to say. */
export function constraintText(question: SurveyQuestion, locale: Locale): string | null {
  const words = texts[locale];
  switch (question.type) {
    case 'multiple': {
      const { minChoices: min = 0, maxChoices: max } = question;
      if (max !== undefined) return min > 0 ? words.chooseBetween(min, max) : words.chooseAtMost(max);
      return min > 1 ? words.chooseAtLeast(min) : null;
    }
    case 'number': {
      const { min, max, integer } = question;
      const range = rangeText(min, max, locale);
      return [range, integer ? words.wholeNumber : null].filter(Boolean).join(' · ') || null;
    }
    case 'scale': {
      const { min, max } = scaleRange(question);
      return rangeText(min, max, locale);
    }
    case 'single':
    case 'text':
      return null;
  }
}

function rangeText(min: number | undefined, max: number | undefined, locale: Locale): string | null {
  const words = texts[locale];
  if (min !== undefined && max !== undefined) return words.range(min, max);
  if (min !== undefined) return words.atLeast(min);
  return max === undefined ? null : words.atMost(max);
}
