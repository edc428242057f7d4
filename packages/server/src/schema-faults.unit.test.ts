import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { faultOfSchema } from './schema-faults.ts';

const schema = {
  type: 'object',
  required: ['startsAt'],
  additionalProperties: false,
  properties: {
    startsAt: { type: 'string' },
    intake: { enum: ['direct', 'queued'] },
    question: {
      type: 'object',
      required: ['type'],
      discriminator: { propertyName: 'type' },
      oneOf: [
        { properties: { type: { const: 'single' } }, required: ['type'] },
        { properties: { type: { const: 'scale' }, max: { maximum: 10 } }, required: ['type'] },
      ],
    },
  },
};

function faults(data: unknown): unknown[] {
  const validate = new Ajv2020({
    strict: false,
    discriminator: true,
    allErrors: true,
    verbose: true,
  }).compile(schema);
  expect(validate(data)).toBe(false);
  return (validate.errors ?? []).map((error) => {
    const { pointer, message } = faultOfSchema('', error);
    return `${pointer} ${message}`;
  });
}

test.each([
  [{ startAt: 'x' }, ['/startsAt is missing', '/startAt unknown field']],
  [
    { startsAt: 'x', intake: 'both' },
    ['/intake must be equal to one of the allowed values: ["direct","queued"]'],
  ],
  [{ startsAt: 'x', question: { type: 'singel' } }, ['/question/type must be one of single, scale']],
  [{ startsAt: 'x', question: { type: 'scale', max: 11 } }, ['/question/max must be <= 10']],
])('%j', (data, expected) => {
  expect(faults(data)).toEqual(expected);
});

test('a kind that is not there is told once', () => {
  expect(new Set(faults({ startsAt: 'x', question: {} }))).toEqual(new Set(['/question/type is missing']));
});

test('without the schema it still names the place', () => {
  const fault = { keyword: 'discriminator', instancePath: '/q', params: { tag: 'type', tagValue: 'x' } };
  expect(faultOfSchema('/body', fault)).toEqual({
    pointer: '/body/q/type',
    message: 'is not one of the kinds there are',
  });
});
