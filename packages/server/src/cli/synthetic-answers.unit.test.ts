import {
  checkSurveyDefinition,
  compileSurvey,
  type SurveyDefinition,
  type SurveyQuestion,
} from '@doorbuster/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { syntheticAnswers } from './synthetic-answers.ts';

const label = { en: 'x' };
const optionIds = fc.integer({ min: 2, max: 6 }).map((n) => Array.from({ length: n }, (_, i) => `o${i}`));
const options = (ids: readonly string[]) => ids.map((id) => ({ id, label }));
const range = fc
  .tuple(
    fc.option(fc.integer({ min: -50, max: 50 })),
    fc.option(fc.integer({ min: 0, max: 40 })),
    fc.boolean(),
  )
  .map(([from, length, halves]) => {
    const shift = halves ? 0.5 : 0;
    const min = from === null ? undefined : from + shift;
    return { min, max: length === null ? undefined : (min ?? 0) + length };
  });
const given = (fields: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined));

/** A question without id and condition; the survey adds them. */
const question = fc.oneof(
  fc.tuple(optionIds, fc.nat(), fc.boolean()).map(([ids, at, screens]) =>
    given({
      type: 'single',
      options: options(ids),
      qualifying: screens ? [ids[at % ids.length]] : undefined,
    }),
  ),
  fc.tuple(optionIds, fc.nat(), fc.nat(), fc.boolean()).map(([ids, a, b, screens]) => {
    const minChoices = a % ids.length;
    const maxChoices = Math.max(1, minChoices) + (b % (ids.length - Math.max(1, minChoices) + 1));
    return given({
      type: 'multiple',
      options: options(ids),
      minChoices,
      maxChoices,
      qualifying: screens ? [ids.at(-1)] : undefined,
    });
  }),
  fc.option(fc.integer({ min: 1, max: 2000 })).map((n) => given({ type: 'text', maxLength: n ?? undefined })),
  fc
    .tuple(range, fc.boolean(), fc.constantFrom('none', 'low', 'high', 'both'))
    .map(([{ min, max }, integer, screens]) => {
      const low = Math.ceil(min ?? (max === undefined ? 0 : max - 5));
      const qualifying = {
        none: undefined,
        low: { min: low },
        high: { max: max ?? low },
        both: { min: low, max: max ?? low + 3 },
      }[screens];
      return given({ type: 'number', min, max, integer, qualifying });
    }),
  fc
    .tuple(fc.integer({ min: 0, max: 10 }), fc.integer({ min: 1, max: 20 }), fc.boolean())
    .map(([min, more, plain]) => (plain ? { type: 'scale' } : { type: 'scale', min, max: min + more })),
);

const survey = fc
  .array(fc.tuple(question, fc.boolean(), fc.boolean(), fc.nat()), { minLength: 1, maxLength: 8 })
  .map((drawn): SurveyDefinition => {
    const questions: SurveyQuestion[] = [];
    for (const [fields, required, conditional, at] of drawn) {
      const earlier = questions.filter((q) => q.type !== 'text');
      const of = conditional ? earlier[at % Math.max(1, earlier.length)] : undefined;
      const showIf = of && {
        question: of.id,
        ...('options' in of ? { anyOf: [of.options[at % of.options.length]?.id] } : { min: at % 5 }),
      };
      const screens = 'qualifying' in fields;
      questions.push({
        id: `q${questions.length}`,
        label,
        ...(required || screens ? { required: true } : {}),
        ...(showIf ? { showIf } : {}),
        ...fields,
      } as SurveyQuestion);
    }
    return { questions };
  })
  .filter(
    (definition) =>
      checkSurveyDefinition(definition).length === 0 && definition.questions.every(canBeAnswered),
  );

describe('synthetic answers', () => {
  it('are taken by any survey that can be published', () => {
    fc.assert(
      fc.property(survey, (definition) => {
        const compiled = compileSurvey(definition);
        for (const answers of syntheticAnswers(definition)) {
          const checked = compiled.check(answers);
          expect(checked, JSON.stringify(answers)).toMatchObject({ ok: true });
        }
      }),
      { numRuns: 500 },
    );
  });

  it('qualify, whenever some answer to the screening question can', () => {
    fc.assert(
      fc.property(
        survey.filter((definition) => definition.questions.every(canQualify)),
        (definition) => {
          const compiled = compileSurvey(definition);
          for (const answers of syntheticAnswers(definition)) {
            const checked = compiled.check(answers);
            expect(checked.ok && checked.screenedOut).toBe(false);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it('differ from member to member', () => {
    const definition: SurveyDefinition = {
      questions: [{ id: 'favourite', type: 'single', label, options: options(['a', 'b', 'c']) }],
    };
    expect(new Set(syntheticAnswers(definition).map((answers) => JSON.stringify(answers))).size).toBe(3);
  });

  it('are empty without a survey', () => {
    expect(syntheticAnswers(null)).toEqual([{}]);
  });
});

/** Between 0.5 and 0.5 there is no whole number; such a question can be published and nobody can answer it. */
function canBeAnswered(question: SurveyQuestion): boolean {
  if (question.type !== 'number' || question.integer !== true) return true;
  return Math.ceil(question.min ?? -Infinity) <= Math.floor(question.max ?? Infinity);
}

/** A number's own range may leave nothing of the range that qualifies. */
function canQualify(question: SurveyQuestion): boolean {
  if (question.type !== 'number' || !question.qualifying) return true;
  const low = Math.max(question.min ?? -Infinity, question.qualifying.min ?? -Infinity);
  const high = Math.min(question.max ?? Infinity, question.qualifying.max ?? Infinity);
  return question.integer === true ? Math.ceil(low) <= Math.floor(high) : low <= high;
}
