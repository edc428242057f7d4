/**
 * What a command says, by clig.dev: data to stdout, messages to stderr, progress bars on a terminal only, `--json` for programs, `--quiet`, NO_COLOR.
 * Everything goes through one object, so that a command can be tested without a terminal.
 */
import { createInterface } from 'node:readline/promises';

export interface TerminalOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  /** False with --no-input, or when stdin is no terminal: nothing is ever asked. */
  readonly input: boolean;
}
export type Row = Readonly<Record<string, unknown>>;

export interface Terminal extends TerminalOptions {
  /** True when a person looks at stderr. */
  readonly interactive: boolean;
  /** A message for a person; silent with --quiet and --json. */
  say(text: string): void;
  /** A warning or error for a person; never silent. */
  warn(text: string): void;
  /** The data of the command: the object with --json, else `text`. */
  data(value: unknown, text: string): void;
  /** A list: one JSON document with --json, else an aligned table. */
  table(rows: readonly Row[], columns: readonly string[]): void;
  progress(label: string, done: number, total: number): void;
  progressEnd(): void;
  bold(text: string): string;
  dim(text: string): string;
  /** Asks for a typed confirmation; null when nothing may be asked. */
  ask(question: string): Promise<string | null>;
}

const BAR_WIDTH = 28;

export function createTerminal(options: TerminalOptions, env: NodeJS.ProcessEnv): Terminal {
  const interactive = process.stderr.isTTY === true;
  const colour = interactive && env.NO_COLOR === undefined && env.TERM !== 'dumb';
  const style = (open: number, close: number) => (text: string) =>
    colour ? `\u001b[${open}m${text}\u001b[${close}m` : text;
  let drawn = false;
  const erase = (): void => {
    if (drawn) process.stderr.write('\r\u001b[2K');
    drawn = false;
  };
  return {
    ...options,
    interactive,
    bold: style(1, 22),
    dim: style(2, 22),
    say(text) {
      if (options.quiet || options.json) return;
      erase();
      process.stderr.write(`${text}\n`);
    },
    warn(text) {
      erase();
      process.stderr.write(`${text}\n`);
    },
    data(value, text) {
      erase();
      process.stdout.write(`${options.json ? JSON.stringify(value) : text}\n`);
    },
    table(rows, columns) {
      erase();
      process.stdout.write(options.json ? `${JSON.stringify(rows)}\n` : tableText(rows, columns));
    },
    progress(label, done, total) {
      if (!interactive || options.quiet) return;
      const share = total === 0 ? 1 : Math.min(1, done / total);
      const full = Math.round(share * BAR_WIDTH);
      erase();
      process.stderr.write(
        `${label.padEnd(14)} ${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)} ${done.toLocaleString('en')} of ${total.toLocaleString('en')}`,
      );
      drawn = true;
    },
    progressEnd() {
      if (drawn) process.stderr.write('\n');
      drawn = false;
    },
    async ask(question) {
      if (!options.input || process.stdin.isTTY !== true) return null;
      const lines = createInterface({ input: process.stdin, output: process.stderr });
      try {
        return await lines.question(question);
      } finally {
        lines.close();
      }
    },
  };
}

/** Columns as wide as their widest cell; East Asian characters count two. */
export function tableText(rows: readonly Row[], columns: readonly string[]): string {
  if (rows.length === 0) return '(none)\n';
  const cells = rows.map((row) => columns.map((c) => cell(row[c])));
  const widths = columns.map((c, i) => Math.max(width(c), ...cells.map((line) => width(line[i] ?? ''))));
  const line = (values: readonly string[]) =>
    values
      .map((v, i) => v + ' '.repeat((widths[i] ?? 0) - width(v)))
      .join('  ')
      .trimEnd();
  return `${[line(columns), ...cells.map(line)].join('\n')}\n`;
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return '-';
  // A terminal obeys control characters, and these texts come from outside.
  return (typeof value === 'object' ? JSON.stringify(value) : String(value)).replace(
    /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    ' ',
  );
}

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
/** Drawn onto the character before: the vowels and final consonants of decomposed Hangul, accents, joiners. */
const NO_WIDTH = /[\u1160-\u11ff]|\p{Cf}|\p{Mn}/u;

const width = (text: string): number =>
  [...text].reduce((n, c) => n + (NO_WIDTH.test(c) ? 0 : WIDE.test(c) ? 2 : 1), 0);
