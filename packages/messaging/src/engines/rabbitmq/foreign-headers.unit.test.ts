import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { carriable } from './foreign-headers.ts';

/** The client's own writer and reader of tables, which its exports do not name. */
const load = createRequire(import.meta.url);
const folder = load.resolve('amqplib').replace(/([/\\]amqplib[/\\]).*$/, '$1');
const codec = load(`${folder}lib/codec.js`) as {
  readonly encodeTable: (buffer: Buffer, table: object, offset: number) => number;
  readonly decodeFields: (slice: Buffer) => object;
};

function written(headers: object): object {
  const buffer = Buffer.alloc(4_096);
  const size = codec.encodeTable(buffer, headers, 0);
  return codec.decodeFields(buffer.subarray(4, size));
}

/** As it arrives and cannot be sent again, and what stands for it. */
const foreign: Readonly<Record<string, readonly [unknown, unknown]>> = {
  'no number': [Number.NaN, 'NaN'],
  'below everything': [Number.NEGATIVE_INFINITY, '-Infinity'],
  'above everything': [Number.POSITIVE_INFINITY, 'Infinity'],
  'a large fraction': [2 ** 51 + 0.5, '2251799813685248.5'],
  'a very small integer': [-1e300, '-1e+300'],
  'a table like a type': [{ '!': 'weather', value: 1 }, '{"!":"weather","value":1}'],
  'a table like a time': [{ '!': 'timestamp', value: 'noon' }, '{"!":"timestamp","value":"noon"}'],
  'a time beyond its range': [
    { '!': 'timestamp', value: 2 ** 64 },
    '{"!":"timestamp","value":18446744073709552000}',
  ],
  'no decimal': [{ '!': 'decimal', value: { places: 1 } }, '{"!":"decimal","value":{"places":1}}'],
  'in a list': [
    [1, Number.NaN],
    [1, 'NaN'],
  ],
  'in a table': [{ a: { b: Number.NaN, c: 1 } }, { a: { b: 'NaN', c: 1 } }],
};

describe('headers of strangers', () => {
  it.each(Object.entries(foreign))('%s is carried as a text', (_, [value, text]) => {
    const headers = { mine: 'yes', theirs: value };
    expect(carriable(headers)).toEqual({ mine: 'yes', theirs: text });
    expect(written(carriable(headers))).toEqual({ mine: 'yes', theirs: text });
  });

  it('are left as they are where they can be written', () => {
    const headers = {
      text: 'a',
      whole: 5,
      large: 2 ** 60,
      larger: 1e300,
      fraction: 0.5,
      yes: true,
      nothing: null,
      bytes: Buffer.from('b'),
      list: [1, { a: 'b' }],
      table: { a: { b: 'c' } },
      time: { '!': 'timestamp', value: 1_700_000_000 },
      price: { '!': 'decimal', value: { places: 2, digits: 1_999 } },
    };
    expect(carriable(headers)).toBe(headers);
    expect(written(headers)).toEqual(headers);
  });
});
