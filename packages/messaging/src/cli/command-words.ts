/**
 * Which command was meant. Options may stand anywhere, before the command and between its two words too, so the table of options tells which words are
 * values: a value is no word of a command, and is never named as one, because the address of a server holds its password.
 */
import type { Command, OptionSpecs } from './command.ts';
import { commands, globalOptions } from './commands.ts';
import { nearest } from './options.ts';

const everyOption: OptionSpecs = Object.assign({}, ...commands.map(({ options }) => options), globalOptions);

export interface FoundCommand {
  readonly command: Command;
  /** All that was written but the words of the command. */
  readonly rest: readonly string[];
}

interface Word {
  readonly at: number;
  readonly text: string;
}

const nameOf = (option: string): string => option.slice(2).split('=', 1)[0] ?? '';
const isLong = (written: string): boolean => written.startsWith('--') && written !== '--';
const isKnown = (written: string): boolean => isLong(written) && Object.hasOwn(everyOption, nameOf(written));

/** The value stands in the next word, and not behind a `=`. */
const takesNext = (written: string): boolean =>
  isKnown(written) && !written.includes('=') && everyOption[nameOf(written)]?.value !== undefined;

/** Behind a command's first word an option that nobody knows ends it: what follows may be its value. */
function wordsIn(argv: readonly string[]): readonly Word[] {
  const words: Word[] = [];
  for (let at = 0; at < argv.length; at += 1) {
    const text = argv[at] as string;
    if (!text.startsWith('-')) words.push({ at, text });
    else if (takesNext(text)) at += 1;
    else if (!isKnown(text) && words.length > 0) break;
  }
  return words;
}

export function commandOf(argv: readonly string[]): FoundCommand | undefined {
  const words = wordsIn(argv);
  for (const count of [2, 1]) {
    const taken = words.slice(0, count);
    const name = taken.map(({ text }) => text).join(' ');
    const command = taken.length === count && commands.find((one) => one.name === name);
    if (command) return { command, rest: argv.filter((_, at) => !taken.some((word) => word.at === at)) };
  }
  return undefined;
}

/** The first option that no command has. */
export function strangeOptionIn(argv: readonly string[]): string | undefined {
  return argv
    .find((one) => one.length > 1 && one.startsWith('-') && one !== '--' && !isKnown(one))
    ?.split('=', 1)[0];
}

/** What was probably meant as a command: the second word too, where a command begins with the first. */
export function wordsOf(argv: readonly string[]): readonly string[] {
  const [first, second] = wordsIn(argv).map(({ text }) => text);
  if (first === undefined) return [];
  const isHalf = commands.some(({ name }) => name.startsWith(`${first} `));
  return isHalf && second !== undefined ? [first, second] : [first];
}

/** The command that is nearest (`dead-letters shwo`), else those that begin as the first word does (`dead-letters`). */
export function meant(argv: readonly string[]): string {
  const words = wordsIn(argv).map(({ text }) => text);
  const all = commands.map(({ name }) => name);
  const close = [words.slice(0, 2).join(' '), words[0] ?? ''].map((word) => nearest(word, all));
  const found = words.length > 0 ? close.find((one) => one !== undefined) : undefined;
  if (found !== undefined && found.includes(' ') === words.length > 1) return `Did you mean ${found}? `;
  const start = (words[0] ?? '').slice(0, 4);
  const near = all.filter((name) => start !== '' && name.startsWith(start));
  return near.length === 0 ? '' : `Did you mean ${near.join(', or ')}? `;
}
