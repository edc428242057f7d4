import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { SurveyAnswers, SurveyDefinition } from './survey.ts';
import { textIn } from './survey.ts';
import { compileSurvey } from './survey-answers.ts';
import { checkSurveyDefinition } from './survey-definition.ts';
import { createCrossTab, createSurveyTally, isCrossTabbable } from './survey-tally.ts';

const label = { ko: '질문', en: 'question' };
const option = (id: string) => ({ id, label });

const survey: SurveyDefinition = {
  questions: [
    {
      id: 'skin',
      type: 'single',
      label,
      required: true,
      options: [option('dry'), option('oily'), option('none')],
      qualifying: ['dry', 'oily'],
    },
    {
      id: 'uses',
      type: 'multiple',
      label,
      options: [option('am'), option('pm'), option('gym')],
      minChoices: 1,
      maxChoices: 2,
      showIf: { question: 'skin', anyOf: ['dry'] },
    },
    { id: 'constructor', type: 'number', label, integer: true, min: 14, max: 120, qualifying: { min: 19 } },
    { id: 'rating', type: 'scale', label },
    { id: 'why', type: 'text', label, required: true, maxLength: 5, showIf: { question: 'rating', max: 2 } },
  ],
};
const compiled = compileSurvey(survey);

describe('answers', () => {
  const base = { skin: 'dry', constructor: 40 };
  test.each<readonly [name: string, given: object, kept: object, screenedOut: boolean]>([
    ['the least', { ...base, skin: 'oily' }, { ...base, skin: 'oily' }, false],
    [
      'everything, in another order',
      { why: '좋아요', rating: 2, constructor: 30, uses: ['pm', 'am'], skin: 'dry' },
      { skin: 'dry', uses: ['am', 'pm'], constructor: 30, rating: 2, why: '좋아요' },
      false,
    ],
    ['an answer that does not qualify', { ...base, skin: 'none' }, { ...base, skin: 'none' }, true],
    ['a number below what qualifies', { ...base, constructor: 18 }, { ...base, constructor: 18 }, true],
    ['a form that left a list empty', { ...base, uses: [] }, base, false],
    [
      'five characters outside the first plane',
      { ...base, rating: 1, why: '😀😀😀😀😀' },
      { ...base, rating: 1, why: '😀😀😀😀😀' },
      false,
    ],
  ])('%s', (_, given, kept, screenedOut) => {
    expect(compiled.check(given)).toEqual({ ok: true, answers: kept, screenedOut });
  });

  test.each<readonly [name: string, given: unknown, pointers: readonly string[]]>([
    ['no object', [], ['']],
    ['null', null, ['']],
    ['text', 'skin', ['']],
    ['nothing', {}, ['/skin', '/constructor']],
    ['an unknown question', { ...base, 'a/b~c': 1 }, ['/a~1b~0c']],
    [
      'a prototype as a question',
      JSON.parse('{"skin":"dry","constructor":40,"__proto__":{"why":"x"}}'),
      ['/__proto__'],
    ],
    ['a question that was not asked', { ...base, skin: 'oily', uses: ['am'] }, ['/uses']],
    ['a follow-up that was not asked', { ...base, rating: 3, why: 'x' }, ['/why']],
    ['a follow-up not answered', { ...base, rating: 2 }, ['/why']],
    ['only spaces where an answer is due', { ...base, rating: 2, why: '  ' }, ['/why']],
    ['an empty choice where one is due', { ...base, skin: '' }, ['/skin']],
    ['no option', { ...base, skin: 'wet' }, ['/skin']],
    ['an option from the prototype', { ...base, skin: 'toString' }, ['/skin']],
    ['a list for one', { ...base, skin: ['dry'] }, ['/skin']],
    ['one for a list', { ...base, uses: 'am' }, ['/uses']],
    ['an option twice', { ...base, uses: ['am', 'am'] }, ['/uses']],
    ['too many', { ...base, uses: ['am', 'pm', 'gym'] }, ['/uses']],
    ['no option in a list', { ...base, uses: [{}] }, ['/uses']],
    ['a number as text', { ...base, constructor: '40' }, ['/constructor']],
    ['a fraction', { ...base, constructor: 40.5 }, ['/constructor']],
    ['not a number', { ...base, constructor: Number.NaN }, ['/constructor']],
    ['too low', { ...base, constructor: 13 }, ['/constructor']],
    ['beyond the scale', { ...base, rating: 6 }, ['/rating']],
    ['between two steps', { ...base, rating: 1.5 }, ['/rating']],
    ['six characters', { ...base, rating: 1, why: '일이삼사오육' }, ['/why']],
    ['half a character', { ...base, rating: 1, why: '\ud800' }, ['/why']],
    ['a NUL', { ...base, rating: 1, why: 'a\0' }, ['/why']],
    ['null for an answer', { ...base, rating: null }, ['/rating']],
    ['two faults', { ...base, rating: 9, skin: 'wet' }, ['/skin', '/rating']],
  ])('refused: %s', (_, given, pointers) => {
    const checked = compiled.check(given);
    expect(checked.ok ? [] : checked.faults.map((fault) => fault.pointer)).toEqual(pointers);
  });

  test('reads own fields only', () => {
    const checked = compiled.check({ skin: 'dry' });
    expect(checked).toEqual({
      ok: false,
      faults: [{ pointer: '/constructor', message: 'must be answered' }],
    });
  });

  test('never throws on any JSON, and what it accepts it accepts again unchanged', () => {
    const ids = survey.questions.map((question) => question.id);
    const answers = fc.dictionary(
      fc.constantFrom(...ids, '__proto__', 'x'),
      fc.oneof(fc.jsonValue(), fc.constantFrom<unknown>('dry', 'oily', ['am'], 30, 2)),
    );
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), answers), (given) => {
        const once = compiled.check(given);
        const twice = compiled.check(once.ok ? once.answers : given);
        expect(twice).toEqual(once);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('definitions', () => {
  test('a good one has no fault', () => {
    expect(checkSurveyDefinition(survey)).toEqual([]);
    expect(checkSurveyDefinition({ questions: [] })).toEqual([]);
  });

  const single = survey.questions[0]!;
  const one = (change: object) => ({ questions: [{ ...single, ...change }] });
  const kind = (type: string, change: object) => ({ questions: [{ id: 'q', type, label, ...change }] });
  test.each<readonly [name: string, definition: unknown, pointers: readonly string[]]>([
    ['no object', null, ['']],
    ['no questions', {}, ['/questions']],
    ['an unknown field', { questions: [], title: 'x' }, ['/title']],
    [
      '51 questions',
      { questions: Array.from({ length: 51 }, (_, i) => ({ ...single, id: `q${i}` })) },
      ['/questions'],
    ],
    ['a question that is none', { questions: [7] }, ['/questions/0']],
    ['an unknown type', one({ type: 'toString' }), ['/questions/0/type']],
    ['an id with a capital', one({ id: 'Skin' }), ['/questions/0/id']],
    ['an id twice', { questions: [single, single] }, ['/questions/1/id']],
    ['no label', one({ label: {} }), ['/questions/0/label']],
    ['an empty label', one({ label: { ko: ' ' } }), ['/questions/0/label/ko']],
    ['an unknown language', one({ label: { ko: 'ㄱ', fr: 'a' } }), ['/questions/0/label/fr']],
    ['a label too long', one({ label: { en: 'a'.repeat(4_001) } }), ['/questions/0/label/en']],
    ['no options', one({ options: [], qualifying: undefined }), ['/questions/0/options']],
    [
      '101 options',
      one({ options: Array.from({ length: 101 }, (_, i) => option(`o${i}`)), qualifying: undefined }),
      ['/questions/0/options'],
    ],
    [
      'an option twice',
      one({ options: [option('dry'), option('dry'), option('oily')] }),
      ['/questions/0/options/1/id'],
    ],
    ['a screening option that is none', one({ qualifying: ['wet'] }), ['/questions/0/qualifying/0']],
    ['a screening question that may stay open', one({ required: false }), ['/questions/0/required']],
    ['required in words', one({ required: 'yes' }), ['/questions/0/required']],
    ['a field of another type', kind('text', { options: [] }), ['/questions/0/options']],
    ['a text too long', kind('text', { maxLength: 2_001 }), ['/questions/0/maxLength']],
    ['a range upside down', kind('number', { min: 2, max: 1 }), ['/questions/0/max']],
    ['a range of nothing', kind('number', { qualifying: {} }), ['/questions/0/qualifying']],
    [
      'no whole number in the range',
      kind('number', { integer: true, min: 0.2, max: 0.8 }),
      ['/questions/0/max'],
    ],
    [
      'a screening range outside the range',
      kind('number', { min: 0, max: 10, qualifying: { min: 11 } }),
      ['/questions/0/qualifying'],
    ],
    [
      'a screening range without a whole number',
      kind('number', { integer: true, qualifying: { min: 1.2, max: 1.8 } }),
      ['/questions/0/qualifying'],
    ],
    ['a scale of one step', kind('scale', { min: 1, max: 1 }), ['/questions/0/max']],
    ['a scale of halves', kind('scale', { min: 0.5 }), ['/questions/0/min']],
    [
      'more choices than options',
      kind('multiple', { options: [option('a')], maxChoices: 2 }),
      ['/questions/0/maxChoices'],
    ],
    [
      'fewer at most than at least',
      kind('multiple', { options: [option('a'), option('b')], minChoices: 2, maxChoices: 1 }),
      ['/questions/0/maxChoices'],
    ],
    [
      'a condition on itself',
      one({ showIf: { question: 'skin', anyOf: ['dry'] } }),
      ['/questions/0/showIf/question'],
    ],
    [
      'a condition on a later question',
      {
        questions: [
          { ...single, showIf: { question: 'b', anyOf: ['dry'] } },
          { ...single, id: 'b' },
        ],
      },
      ['/questions/0/showIf/question'],
    ],
    [
      'a condition on nothing',
      one({ showIf: { question: 'nobody', anyOf: ['dry'] } }),
      ['/questions/0/showIf/question'],
    ],
    [
      'a condition with an unknown option',
      { questions: [single, { ...single, id: 'b', showIf: { question: 'skin', anyOf: ['wet'] } }] },
      ['/questions/1/showIf/anyOf/0'],
    ],
    [
      'a condition without a comparison',
      { questions: [single, { ...single, id: 'b', showIf: { question: 'skin' } }] },
      ['/questions/1/showIf/anyOf'],
    ],
    [
      'a range on a choice',
      { questions: [single, { ...single, id: 'b', showIf: { question: 'skin', anyOf: ['dry'], min: 1 } }] },
      ['/questions/1/showIf'],
    ],
  ])('%s', (_, definition, pointers) => {
    expect(checkSurveyDefinition(definition).map((fault) => fault.pointer)).toEqual(pointers);
  });

  test('never throws on any JSON', () => {
    const question = fc.record(
      {
        id: fc.jsonValue(),
        type: fc.constantFrom('single', 'multiple', 'text', 'number', 'scale'),
        label: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    const wild = fc.dictionary(
      fc.constantFrom('options', 'qualifying', 'showIf', 'min', 'max', 'maxLength'),
      fc.jsonValue(),
    );
    const definition = fc.record({
      questions: fc.array(fc.tuple(question, wild).map(([a, b]) => ({ ...a, ...b }))),
    });
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), definition), (value) => {
        expect(Array.isArray(checkSurveyDefinition(value))).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test('a text falls back to the other language', () => {
    expect([
      textIn({ ko: '가' }, 'en'),
      textIn({ en: 'a' }, 'ko'),
      textIn({ ko: '가', en: 'a' }, 'en'),
    ]).toEqual(['가', 'a', 'a']);
  });
});

describe('results', () => {
  const answers = [
    { skin: 'dry', uses: ['am', 'pm'], constructor: 20, rating: 1, why: 'no' },
    { skin: 'dry', uses: ['am'], constructor: 30, rating: 5 },
    { skin: 'oily', constructor: 40 },
  ] as unknown as readonly SurveyAnswers[];
  const tally = createSurveyTally(survey);
  for (const one of answers) tally.add(one);

  test('counts, shares and numbers', () => {
    const result = tally.result();
    expect(result.entries).toBe(3);
    expect(result.questions).toEqual([
      {
        question: 'skin',
        answered: 3,
        type: 'single',
        choices: [
          { choice: 'dry', count: 2, share: 2 / 3 },
          { choice: 'oily', count: 1, share: 1 / 3 },
          { choice: 'none', count: 0, share: 0 },
        ],
      },
      {
        question: 'uses',
        answered: 2,
        type: 'multiple',
        choices: [
          { choice: 'am', count: 2, share: 1 },
          { choice: 'pm', count: 1, share: 0.5 },
          { choice: 'gym', count: 0, share: 0 },
        ],
      },
      { question: 'constructor', answered: 3, type: 'number', summary: { mean: 30, min: 20, max: 40 } },
      {
        question: 'rating',
        answered: 2,
        type: 'scale',
        summary: { mean: 3, min: 1, max: 5 },
        choices: [1, 2, 3, 4, 5].map((step) => ({
          choice: String(step),
          count: step === 1 || step === 5 ? 1 : 0,
          share: step === 1 || step === 5 ? 0.5 : 0,
        })),
      },
      { question: 'why', answered: 1, type: 'text' },
    ]);
  });

  test('nothing answered', () => {
    const { questions } = createSurveyTally(survey).result();
    expect(questions[2]).toEqual({ question: 'constructor', answered: 0, type: 'number', summary: null });
    expect(questions[0]).toMatchObject({ choices: [{ share: 0 }, { share: 0 }, { share: 0 }] });
  });

  test('a cross-table of two', () => {
    const table = createCrossTab(survey, 'uses', 'rating');
    for (const one of answers) table.add(one);
    expect(table.result()).toEqual({
      rows: ['am', 'pm', 'gym'],
      columns: ['1', '2', '3', '4', '5'],
      counts: [
        [1, 0, 0, 0, 1],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
      ],
      answered: 2,
    });
    expect(['skin', 'rating', 'why', 'constructor', 'x'].map((id) => isCrossTabbable(survey, id))).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
    expect(() => createCrossTab(survey, 'skin', 'why')).toThrow(RangeError);
  });
});
