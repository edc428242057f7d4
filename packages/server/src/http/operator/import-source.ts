/**
 * The rows of an import as they arrive: CSV or a JSON array, read from the request piece by piece, so that memory does not grow with the file
 * and a slow ledger slows the sender (nothing is read ahead of what was stored). A fault of one row is a value; what makes the rest
 * unreadable (not UTF-8, no header, an open bracket) is thrown as a refusal.
 *
 * JSON has a scanner of its own because `JSON.parse` of 64 MiB would hold the event loop, and with it everybody's entries, for a second.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { parse } from 'csv-parse';
import type { RawRow } from './import-rows.ts';
import { refusal } from './refusals.ts';

/** A row, or why there is none. `line`: line of the CSV file (the header is 1), or number of the object in the JSON array. */
export type SourceRow =
  | { readonly line: number; readonly raw: RawRow }
  | { readonly line: number; readonly fault: string };

export const maxImportBytes = 64 * 1024 * 1024;
/** A row has a few short fields; what is longer is an unclosed quote or bracket. */
const maxRowCharacters = 16 * 1024;

/** The parser does not count delimiters: a line of nothing else would become an array of millions of empty fields. */
const maxLineCharacters = 64 * 1024;
/** What is parsed in one go, about a hundred rows. */
const pieceCharacters = 2 * 1024;
const itemsAtOnce = 100;

/** UTF-8 text of the body, counted. Throws on more than `maxImportBytes` and on what is not UTF-8. */
async function* textOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxImportBytes) throw refusal('import-too-large');
    yield decoded(() => decoder.decode(chunk, { stream: true }));
  }
  yield decoded(() => decoder.decode());
}

function decoded(decode: () => string): string {
  try {
    return decode();
  } catch {
    throw refusal('import-unreadable', { detail: 'It is not UTF-8: in Excel, save it as "CSV UTF-8".' });
  }
}

/** Rows of a CSV with a header line. BOM, CRLF and quoted line breaks are accepted. */
export async function* csvRows(
  body: AsyncIterable<Uint8Array>,
  columns: readonly string[],
): AsyncGenerator<SourceRow> {
  const skipped: { line: number; fault: string }[] = [];
  const parser = parse({
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: maxRowCharacters,
    on_skip: (error) => {
      skipped.push({
        line: Number(error?.['lines'] ?? 0),
        fault: 'the quotes or the length of this line are wrong',
      });
      return undefined;
    },
  });
  let header: readonly string[] | null = null;
  const feeding = feed(unixLines(textOf(body)), parser);
  try {
    for await (const item of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      while (skipped.length > 0) yield skipped.shift()!;
      const { record, info } = item;
      if (header === null) header = headerOf(record, columns);
      else yield csvRow(header, record, info.lines);
    }
    await feeding;
    while (skipped.length > 0) yield skipped.shift()!;
    if (header === null) throw refusal('import-unreadable', { detail: 'It has no header line.' });
  } finally {
    parser.destroy();
    await feeding.catch(() => undefined);
  }
}

/** One kind of line end, so that the line numbers of faults are those an editor shows. A CR at a cut waits for its LF. */
async function* unixLines(text: AsyncIterable<string>): AsyncGenerator<string> {
  let held = '';
  for await (const piece of text) {
    const whole = held + piece;
    held = whole.endsWith('\r') ? '\r' : '';
    yield (held ? whole.slice(0, -1) : whole).replaceAll(/\r\n?/g, '\n');
  }
  if (held) yield '\n';
}

/** Writes the text into the parser and waits whenever it is full. A failed reading ends the parser with the same error. */
async function feed(text: AsyncIterable<string>, parser: ReturnType<typeof parse>): Promise<void> {
  let lineCharacters = 0;
  try {
    for await (const piece of text)
      for (let at = 0; at < piece.length; at += pieceCharacters) {
        if (parser.destroyed) return;
        const part = piece.slice(at, at + pieceCharacters);
        const lineEnd = part.lastIndexOf('\n');
        lineCharacters = lineEnd < 0 ? lineCharacters + part.length : part.length - lineEnd - 1;
        if (lineCharacters > maxLineCharacters)
          throw refusal('import-unreadable', {
            detail: `A line is longer than ${maxLineCharacters} characters.`,
          });
        if (!parser.write(part)) await drained(parser);
        // The parser works through a piece in one go: between two of them the entries of other campaigns have their turn.
        await turn();
      }
    parser.end();
  } catch (error) {
    parser.destroy(error as Error);
    throw error;
  }
}

function drained(parser: ReturnType<typeof parse>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      parser.off('drain', done).off('close', done);
      resolve();
    };
    parser.on('drain', done).on('close', done);
  });
}

function headerOf(record: readonly string[], columns: readonly string[]): readonly string[] {
  const names = record.map((name) => name.trim());
  const expected = `The columns are ${columns.join(', ')}.`;
  const unknown = names.find((name) => !columns.includes(name));
  if (unknown !== undefined)
    throw refusal('import-unreadable', {
      detail: `Unknown column ${JSON.stringify(unknown.slice(0, 64))}. ${expected}`,
    });
  if (new Set(names).size < names.length)
    throw refusal('import-unreadable', { detail: 'A column comes twice.' });
  if (!names.includes(columns[0]!))
    throw refusal('import-unreadable', { detail: `The column ${columns[0]} is missing. ${expected}` });
  return names;
}

function csvRow(header: readonly string[], record: readonly string[], line: number): SourceRow {
  if (record.length !== header.length)
    return { line, fault: `has ${record.length} fields, the header ${header.length}` };
  return { line, raw: Object.fromEntries(header.map((name, index) => [name, record[index]])) };
}

/** Objects of a JSON array, one after the other. */
export async function* jsonRows(body: AsyncIterable<Uint8Array>): AsyncGenerator<SourceRow> {
  const scanner = createArrayScanner();
  let line = 0;
  let items = 0;
  for await (const piece of textOf(body)) {
    for (const item of scanner.push(piece)) {
      line += 1;
      yield jsonRow(item, line);
      // As in `feed`: entries of other campaigns have their turn.
      if ((items += 1) % itemsAtOnce === 0) await turn();
    }
  }
  scanner.end();
}

function jsonRow(item: string, line: number): SourceRow {
  try {
    const raw: unknown = JSON.parse(item);
    if (typeof raw === 'object' && raw !== null && !Array.isArray(raw)) return { line, raw: raw as RawRow };
    return { line, fault: 'is not an object' };
  } catch {
    return { line, fault: 'is not valid JSON' };
  }
}

/**
 * Cuts a JSON array into the texts of its items by counting brackets outside strings; what an item holds is `JSON.parse`'s to judge.
 *   start --[--> item-or-end --text--> item --, at depth 1--> item ...  --] at depth 1--> ended
 */
function createArrayScanner(): { push(piece: string): Generator<string>; end(): void } {
  let depth = 0;
  let inString = false;
  let escaped = false;
  let ended = false;
  let item = '';
  let items = 0;

  const broken = (detail: string) => refusal('import-unreadable', { detail });

  function* close(last: boolean): Generator<string> {
    const text = item.trim();
    item = '';
    if (last && text === '' && items === 0) return;
    items += 1;
    yield text;
  }

  function* push(piece: string): Generator<string> {
    let from = 0;
    for (let at = 0; at < piece.length; at += 1) {
      const char = piece.charCodeAt(at);
      if (inString) {
        if (escaped) escaped = false;
        else if (char === backslash) escaped = true;
        else if (char === quote) inString = false;
        continue;
      }
      if (depth === 0) {
        if (isBlank(char)) continue;
        if (char !== openBracket || ended)
          throw broken(ended ? 'Something follows the array.' : 'It is not a JSON array.');
        depth = 1;
        from = at + 1;
        continue;
      }
      if (char === quote) inString = true;
      else if (char === openBracket || char === openBrace) depth += 1;
      else if (char === closeBrace && depth === 1) throw broken('A brace is closed that was not opened.');
      else if (char === closeBracket || char === closeBrace) depth -= 1;
      const last = depth === 0;
      if (!last && !(char === comma && depth === 1)) continue;
      item += piece.slice(from, at);
      from = at + 1;
      if (last) ended = true;
      yield* close(last);
    }
    if (depth > 0) item += piece.slice(from);
    if (item.length > maxRowCharacters)
      throw broken(`Object ${items + 1} is longer than ${maxRowCharacters} characters.`);
  }

  return {
    push,
    end() {
      if (!ended) throw broken('The array does not end.');
    },
  };
}

const quote = 0x22;
const comma = 0x2c;
const openBracket = 0x5b;
const backslash = 0x5c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

function isBlank(char: number): boolean {
  return char === 0x20 || char === 0x0a || char === 0x0d || char === 0x09 || char === 0xfeff;
}
