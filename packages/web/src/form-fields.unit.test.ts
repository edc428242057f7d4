import { describe, expect, it } from 'vitest';
import type { SurveyDefinition } from '@doorbuster/core';
import { answersFromForm, localizedFaults } from './form-fields.ts';

const label = { ko: '질문' };
const options = [
  { id: 'a', label },
  { id: 'b', label },
];
const survey: SurveyDefinition = {
  questions: [
    { id: 'one', type: 'single', label, options },
    { id: 'many', type: 'multiple', label, options, maxChoices: 1 },
    { id: 'why', type: 'text', label, maxLength: 5, showIf: { question: 'one', anyOf: ['b'] } },
    { id: 'age', type: 'number', label, min: 1 },
    { id: 'rate', type: 'scale', label },
    { id: 'low', type: 'text', label, showIf: { question: 'rate', max: 2 } },
    { id: '__proto__', type: 'text', label },
  ],
};

describe('answers from a form', () => {
  it.each([
    ['a single choice', { 'q.one': 'a' }, { one: 'a' }],
    ['one box ticked', { 'q.many': 'a' }, { many: ['a'] }],
    ['two boxes ticked', { 'q.many': ['a', 'b'] }, { many: ['a', 'b'] }],
    ['a number', { 'q.age': '12.5' }, { age: 12.5 }],
    ['what is no number stays text, for the check to refuse', { 'q.age': '12x' }, { age: '12x' }],
    ['nothing typed is no answer', { 'q.age': '', 'q.one': ' ' }, {}],
    ['an asked question', { 'q.one': 'b', 'q.why': 'x\r\ny' }, { one: 'b', why: 'x\ny' }],
    ['a question not asked is dropped', { 'q.one': 'a', 'q.why': 'x' }, { one: 'a' }],
    ['a range that holds', { 'q.rate': '2', 'q.low': 'x' }, { rate: 2, low: 'x' }],
    ['a range that does not', { 'q.rate': '3', 'q.low': 'x' }, { rate: 3 }],
    ['fields of others', { other: 'x', 'q.unknown': 'y', 'q.one': { nested: 1 } }, {}],
    ['one name twice where one is meant', { 'q.one': ['a', 'b'] }, { one: 'a' }],
  ])('%s', (_, fields, answers) => {
    expect(answersFromForm(survey, fields).answers).toEqual(answers);
  });

  it('keeps what was typed, also where it is no answer', () => {
    expect(answersFromForm(survey, { 'q.one': 'a', 'q.why': 'x' }).values).toEqual({ one: 'a', why: 'x' });
  });

  it('a campaign without survey has no answers', () => {
    expect(answersFromForm(null, { 'q.one': 'a' })).toEqual({ answers: {}, values: {} });
  });
});

describe('faults in the words of the page', () => {
  it('follow from the question and from what was typed', () => {
    const faults = ['/answers/one', '/many/0', '/why', '/age', '/unknown'].map((pointer) => ({
      pointer,
      message: 'x',
    }));
    expect(localizedFaults(survey, { many: ['a', 'b'], why: 'too long', age: '0' }, faults, 'en')).toEqual({
      one: 'Please answer this.',
      many: 'Choose up to 1.',
      why: 'At most 5 characters.',
      age: 'A number of at least 1',
    });
  });
});
