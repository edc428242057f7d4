import { Readable } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HttpProblem } from '../problem.ts';
import { csvRows, jsonRows, type SourceRow } from './import-source.ts';

const columns = ['code', 'pin'];
/** For tests that read many megabytes, on a slow machine. */
const patienceMs = 120_000;
const bytes = (text: string, size = 7): Readable => {
  const all = Buffer.from(text);
  return Readable.from(
    Array.from({ length: Math.ceil(all.length / size) }, (_, at) => all.subarray(at * size, (at + 1) * size)),
  );
};
const csv = (text: string, size?: number): Promise<SourceRow[]> =>
  gather(csvRows(bytes(text, size), columns));
const json = (text: string, size?: number): Promise<SourceRow[]> => gather(jsonRows(bytes(text, size)));
const refused = async (rows: Promise<unknown>): Promise<string> => {
  const error = await rows.then(
    () => null,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(HttpProblem);
  return (error as HttpProblem).options.detail ?? '';
};

test('BOM, CRLF, quotes, line breaks in quotes, empty lines and Korean, cut anywhere', async () => {
  const text = '\ufeffcode,pin\r\n가나,1\r\n\r\n"x, ""y""",2\r\n"two\r\nlines",3\r\n';
  for (const size of [1, 2, 3, 5, 1000]) {
    expect(await csv(text, size)).toEqual([
      { line: 2, raw: { code: '가나', pin: '1' } },
      { line: 4, raw: { code: 'x, "y"', pin: '2' } },
      { line: 6, raw: { code: 'two\nlines', pin: '3' } },
    ]);
  }
});

test('a line without an end is refused before it becomes millions of fields; lines of that length together are not', async () => {
  expect(await refused(csv(`code,pin\n${','.repeat(70_000)}`, 5_000))).toContain('longer than 65536');
  expect(await csv('code,pin\n'.concat('a,1\n'.repeat(20_000)), 5_000)).toHaveLength(20_000);
});

test('a row of another length is a fault of its line, the rest goes on', async () => {
  expect(await csv('code,pin\na,1\nb\nc,3,x\nd,4\n')).toEqual([
    { line: 2, raw: { code: 'a', pin: '1' } },
    { line: 3, fault: 'has 1 fields, the header 2' },
    { line: 4, fault: 'has 3 fields, the header 2' },
    { line: 5, raw: { code: 'd', pin: '4' } },
  ]);
});

test('a wrong quote is a fault of its line', async () => {
  const rows = await csv('code,pin\na"b,1\nc,3\n');
  expect(rows.filter((row) => 'fault' in row)).toHaveLength(1);
  expect(rows.at(-1)).toMatchObject({ raw: { code: 'c' } });
});

test('what cannot be read at all is refused as a whole', async () => {
  expect(await refused(csv(''))).toContain('no header line');
  expect(await refused(csv('code,pinn\n'))).toContain('Unknown column "pinn"');
  expect(await refused(csv('code,code\n'))).toContain('comes twice');
  expect(await refused(csv('pin\n1\n'))).toContain('The column code is missing');
  const korean = Readable.from([Buffer.from('code\n'), Buffer.from([0xb0, 0xa1, 0x0a])]);
  expect(await refused(gather(csvRows(korean, columns)))).toContain('not UTF-8');
});

test('a reader that stops early leaves nothing running', async () => {
  const source = bytes(`code,pin\n${'a,1\n'.repeat(10_000)}`, 1000);
  for await (const row of csvRows(source, columns)) {
    expect(row.line).toBe(2);
    break;
  }
  expect(source.destroyed).toBe(true);
});

test(
  'a JSON array, cut anywhere, gives what JSON.parse gives',
  async () => {
    const value = fc.record({ code: fc.string({ unit: 'binary' }), deep: fc.jsonValue({ maxDepth: 3 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(value),
        fc.integer({ min: 1, max: 40 }),
        fc.boolean(),
        async (items, size, spaced) => {
          const rows = await json(JSON.stringify(items, null, spaced ? 2 : 0), size);
          expect(rows).toEqual(
            JSON.parse(JSON.stringify(items)).map((raw: object, index: number) => ({ line: index + 1, raw })),
          );
        },
      ),
      { numRuns: 60 },
    );
  },
  patienceMs,
);

test('items that are no objects are faults, the rest goes on', async () => {
  expect(await json('[1, {"code":"a"}, [2], {bad}, ]')).toEqual([
    { line: 1, fault: 'is not an object' },
    { line: 2, raw: { code: 'a' } },
    { line: 3, fault: 'is not an object' },
    { line: 4, fault: 'is not valid JSON' },
    { line: 5, fault: 'is not valid JSON' },
  ]);
  expect(await json('[]')).toEqual([]);
});

test('what is no array is refused', async () => {
  expect(await refused(json('{"code":"a"}'))).toContain('not a JSON array');
  expect(await refused(json('[{"code":"a"}'))).toContain('does not end');
  expect(await refused(json(''))).toContain('does not end');
  expect(await refused(json('[] []'))).toContain('follows the array');
  expect(await refused(json('[}'))).toContain('not opened');
  expect(await refused(json(`["${'x'.repeat(40_000)}`, 1000))).toContain('longer than');
});

test(
  'more than 64 MiB is refused while it arrives',
  async () => {
    const block = Buffer.from(`${'a'.repeat(8_000)},1\n`.repeat(128));
    let sent = 0;
    const endless = Readable.from(
      (async function* () {
        yield Buffer.from('code,pin\n');
        for (;;) {
          sent += block.length;
          yield block;
        }
      })(),
    );
    const error = await (async () => {
      for await (const _row of csvRows(endless, columns)) if (sent > 80 * 1024 * 1024) break;
    })().then(
      () => null,
      (cause: unknown) => cause,
    );
    expect((error as HttpProblem).status).toBe(413);
  },
  patienceMs,
);

async function gather<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
