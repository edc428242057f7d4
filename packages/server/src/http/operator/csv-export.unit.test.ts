import { expect, test } from 'vitest';
import { attachment, csvCell, csvFile, wantsCsv } from './csv-export.ts';

const cells: readonly [unknown, string][] = [
  ['plain', 'plain'],
  ['한국어', '한국어'],
  ['with, comma', '"with, comma"'],
  ['with "quotes"', '"with ""quotes"""'],
  ['two\nlines', '"two\nlines"'],
  ['', ''],
  [null, ''],
  [-5, '-5'],
  [1.5, '1.5'],
  ['=1+1', "'=1+1"],
  ['+82 10', "'+82 10"],
  ['-1', "'-1"],
  ['@SUM(A1)', "'@SUM(A1)"],
  ['\t=1', '"\'\t=1"'],
  ['\r=1', '"\'\r=1"'],
  ['  =1', "'  =1"],
  [' spaced ', '" spaced "'],
  ['＝1+1', "'＝1+1"],
  ['＋1', "'＋1"],
  ['－1', "'－1"],
  ['＠x', "'＠x"],
  ["=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"],
];

test.each(cells)('the cell %j is written %j', (cell, written) => {
  expect(csvCell(cell as string)).toBe(written);
});

test('a file starts with a BOM and has CRLF lines', async () => {
  async function* chunks() {
    yield [['가', 1]] as const;
    yield [['=x', null]] as const;
  }
  const text = (await gather(csvFile(['name', 'n'], chunks()))).join('');
  expect(text).toBe("\ufeffname,n\r\n가,1\r\n'=x,\r\n");
  expect([...Buffer.from(text).subarray(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
});

const entered: readonly (readonly string[])[] = [
  ['이름', 'wish'],
  ['김', "=cmd|' /C calc'!A0"],
];

/** What a spreadsheet would do wrong with this file. */
function spreadsheetFaults(text: string): readonly string[] {
  const cells = text.replace('\ufeff', '').split(/[,\r\n]+/);
  return [
    ...(text.startsWith('\ufeff') ? [] : ['Korean text is garbled']),
    ...(/[^\r]\n/.test(text) ? ['lines run together'] : []),
    ...(cells.some((cell) => /^[=+\-@]/.test(cell)) ? ['a cell is run as a formula'] : []),
  ];
}

test('30: a spreadsheet shows Korean text as it is and runs no cell', async () => {
  async function* rows() {
    yield entered.slice(1);
  }
  const text = (await gather(csvFile([...(entered[0] ?? [])], rows()))).join('');
  expect(spreadsheetFaults(text)).toEqual([]);
});

test('control: rows joined as they are have all three faults', () => {
  const text = entered.map((row) => row.join(',')).join('\n');
  expect(spreadsheetFaults(text)).toEqual([
    'Korean text is garbled',
    'lines run together',
    'a cell is run as a formula',
  ]);
});

const accepts: readonly [string | undefined, boolean][] = [
  [undefined, false],
  ['*/*', false],
  ['application/json', false],
  ['text/csv', true],
  ['text/csv, application/json;q=0.5', true],
  ['application/json, text/csv;q=0.9', false],
  ['TEXT/CSV; charset=utf-8', true],
];
test.each(accepts)('Accept %j wants CSV: %j', (accept, wanted) => {
  expect(wantsCsv(accept)).toBe(wanted);
});

test('a name cannot break out of its header', () => {
  expect(attachment('a"\r\nx: y.csv')).toBe('attachment; filename="a---x--y.csv"');
});

async function gather<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
