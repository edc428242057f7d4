/**
 * What a command says: data to stdout, messages to stderr, progress on a terminal only, `--json` for programs, `--quiet`, `NO_COLOR`. The streams come
 * from outside, so that a command can be tested without a terminal.
 */
export interface Stream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export interface TerminalOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly colour: boolean;
}

export type Row = Readonly<Record<string, unknown>>;

export class Terminal {
  readonly json: boolean;
  readonly #options: TerminalOptions;
  readonly #out: Stream;
  readonly #messages: Stream;
  #drawn = false;

  constructor(out: Stream, messages: Stream, options: TerminalOptions) {
    this.#out = out;
    this.#messages = messages;
    this.#options = options;
    this.json = options.json;
  }

  /** For a person; silent with --quiet and --json. */
  say(text: string): void {
    if (!this.#options.quiet && !this.json) this.warn(text);
  }

  /** For a person, never silent. */
  warn(text: string): void {
    this.#erase();
    this.#messages.write(`${text}\n`);
  }

  /** The data of the command: the value as JSON with --json, else the text. */
  data(value: unknown, text: () => string): void {
    this.#erase();
    this.#out.write(this.json ? `${JSON.stringify(value)}\n` : `${text()}\n`);
  }

  /** A list: one JSON document, or a table. `json` where a program gets more than the columns. */
  table(rows: readonly Row[], columns: readonly string[], json: unknown = rows): void {
    this.data(json, () => this.#bold(tableText(rows, columns)));
  }

  /** Drawn over and over on a terminal, nowhere else. */
  progress(text: string): void {
    if (this.#messages.isTTY !== true || this.#options.quiet || this.json) return;
    this.#erase();
    this.#messages.write(text);
    this.#drawn = true;
  }

  /** Makes room for the next look of `--watch`. */
  clear(): void {
    if (this.#out.isTTY === true && !this.json) this.#out.write('\u001b[H\u001b[2J');
  }

  #bold(table: string): string {
    if (!this.#options.colour || this.#out.isTTY !== true) return table;
    const [head = '', ...rest] = table.split('\n');
    return [`\u001b[1m${head}\u001b[22m`, ...rest].join('\n');
  }

  #erase(): void {
    if (this.#drawn) this.#messages.write('\r\u001b[2K');
    this.#drawn = false;
  }
}

export function tableText(rows: readonly Row[], columns: readonly string[]): string {
  if (rows.length === 0) return '(none)';
  const lines = [columns, ...rows.map((row) => columns.map((column) => cell(row[column])))];
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => (line[at] ?? '').length)));
  return lines
    .map((line) =>
      line
        .map((value, at) => value.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A terminal obeys control characters, and these texts come from outside. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, ' ');
}

function cell(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-';
  return printable(typeof value === 'object' ? JSON.stringify(value) : String(value));
}
