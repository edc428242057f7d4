/** Answers that a survey accepts, for synthetic members: every asked question answered with what qualifies. */
import {
  compileSurvey,
  type NumberQuestion,
  type SurveyAnswer,
  type SurveyDefinition,
  type SurveyQuestion,
} from '@doorbuster/core';

/** Up to `variants` different sets; a single empty one without a survey. */
export function syntheticAnswers(survey: SurveyDefinition | null, variants = 5): readonly unknown[] {
  if (!survey) return [{}];
  const compiled = compileSurvey(survey);
  const sets: unknown[] = [];
  for (let variant = 0; variant < variants; variant++) {
    let answers: Record<string, SurveyAnswer> = {};
    for (const question of survey.questions) {
      // A conditional question may be asked or not: what the survey refuses is left out again.
      const tried = { ...answers, [question.id]: answerTo(question, variant) };
      if (!isRefused(compiled.check(tried), question.id)) answers = tried;
    }
    sets.push(answers);
  }
  return sets;
}

type Checked = ReturnType<ReturnType<typeof compileSurvey>['check']>;

const isRefused = (checked: Checked, questionId: string): boolean =>
  !checked.ok &&
  checked.faults.some((f) => f.pointer === `/${questionId}` || f.pointer.startsWith(`/${questionId}/`));

function answerTo(question: SurveyQuestion, variant: number): SurveyAnswer {
  switch (question.type) {
    case 'single': {
      const ids = question.qualifying ?? question.options.map((o) => o.id);
      return ids[variant % ids.length] ?? '';
    }
    case 'multiple': {
      const ids = [...new Set([...(question.qualifying ?? []), ...question.options.map((o) => o.id)])];
      return ids.slice(0, Math.max(1, question.minChoices ?? 1));
    }
    case 'text':
      return `synthetic ${variant}`.slice(0, question.maxLength ?? 500);
    case 'number':
      return numberFor(question);
    case 'scale': {
      const min = question.min ?? 1;
      return min + (variant % ((question.max ?? 5) - min + 1));
    }
  }
}

/** What the question takes; where its range and the one that qualifies overlap, what qualifies. */
function numberFor({ min, max, integer, qualifying }: NumberQuestion): number {
  const ends = [min, max, qualifying?.min, qualifying?.max].filter((end) => end !== undefined);
  const candidates = [1, ...ends.flatMap((end) => [end, Math.ceil(end), Math.floor(end)])];
  const isIn = (value: number, range: { readonly min?: number; readonly max?: number }): boolean =>
    value >= (range.min ?? -Infinity) && value <= (range.max ?? Infinity);
  const own = { ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }) };
  const taken = candidates.filter(
    (value) => isIn(value, own) && (integer !== true || Number.isInteger(value)),
  );
  return taken.find((value) => isIn(value, qualifying ?? {})) ?? taken[0] ?? 1;
}
