/**
 * The one helper for CSV exports: UTF-8 with BOM (or Excel shows Korean as noise), CRLF, quotes, and a guard against formulas: a text cell that
 * a spreadsheet would run is shown with an apostrophe before it. Answers are written by strangers, and the file is opened by staff.
 */

export type Cell = string | number | boolean | null;

export const csvType = 'text/csv; charset=utf-8; header=present';
const bom = '\ufeff';

/** What starts a formula in Excel, LibreOffice and Google Sheets; the full-width forms do in Korean and Japanese Excel. */
const formula = /^[\s\u00a0\ufeff]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;

/** Numbers are written bare, because the guard would turn -5 into a text; whatever came as text is guarded. */
export function csvCell(cell: Cell): string {
  if (cell === null) return '';
  if (typeof cell !== 'string') return String(cell);
  const text = formula.test(cell) || /^[\t\r\n]/.test(cell) ? `'${cell}` : cell;
  return /[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvLine(cells: readonly Cell[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`;
}

/** The whole file, chunk by chunk as the rows come: nothing is gathered. */
export async function* csvFile(
  header: readonly string[],
  chunks: AsyncIterable<readonly (readonly Cell[])[]>,
): AsyncGenerator<string> {
  yield bom + csvLine(header);
  for await (const rows of chunks) yield rows.map(csvLine).join('');
}

/** `attachment` with a name that every browser takes; campaign ids are plain ASCII. */
export function attachment(name: string): string {
  return `attachment; filename="${name.replace(/[^a-z0-9.-]/gi, '-')}"`;
}

/** Whether the caller asked for CSV rather than JSON. The order of preference is the caller's; JSON is the default. */
export function wantsCsv(accept: string | undefined): boolean {
  if (accept === undefined) return false;
  const weightOf = (type: string): number => {
    const found = accept
      .split(',')
      .map((part) => part.trim().toLowerCase())
      .find((part) => part.split(';')[0]?.trim() === type);
    return found === undefined ? 0 : Number(/;\s*q=([\d.]+)/.exec(found)?.[1] ?? 1);
  };
  return weightOf('text/csv') > weightOf('application/json');
}
