/**
 * What was written behind a command, read by its table: what is wrong with it is said in this program's words, with the option that was probably meant.
 * Node's `parseArgs` takes it apart and judges nothing, because its own words speak to the programmer of a command and not to its user.
 */
import { parseArgs } from 'node:util';
import type { Command, OptionSpecs } from './command.ts';
import { globalOptions, PROGRAM } from './commands.ts';
import { usage } from './failure.ts';
import { flagOf, usageOf } from './help.ts';

export interface Parsed {
  readonly values: Record<string, unknown>;
  readonly positionals: readonly string[];
}

interface Written {
  readonly name: string;
  /** As it was written, `-w` or `--watch`. */
  readonly rawName: string;
  readonly value: string | undefined;
  /** `--limit=5` instead of `--limit 5`. */
  readonly inline: boolean;
}

export function parseOptions(command: Command, args: readonly string[]): Parsed {
  const specs: OptionSpecs = { ...globalOptions, ...command.options };
  const help = `Usage: ${usageOf(command)}. ${PROGRAM} ${command.name} --help tells more.`;
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    allowPositionals: true,
    strict: false,
    tokens: true,
    options: Object.fromEntries(
      Object.entries(specs).map(([name, { value, isMultiple }]) => [
        name,
        { type: value === undefined ? 'boolean' : 'string', multiple: isMultiple ?? false } as const,
      ]),
    ),
  });
  const refuse = (what: string, first = ''): never => {
    throw usage(`${command.name}: ${what}`, `${first}${help}`);
  };
  const seen = new Set<string>();
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    refuseMistake(specs, { ...token, inline: token.inlineValue ?? false }, refuse);
    if (seen.has(token.name) && !specs[token.name]?.isMultiple)
      refuse(`--${token.name} was given more than once`);
    seen.add(token.name);
  }
  const missing = Object.entries(command.options).find(
    ([name, spec]) => spec.isRequired && values[name] === undefined,
  );
  if (missing) refuse(`--${missing[0]} is missing`);
  if (positionals.length !== command.arguments.length)
    refuse(`${givenText(positionals.length)}, it takes ${takenText(command)}`);
  return { values, positionals };
}

function givenText(count: number): string {
  if (count === 0) return 'no argument was given';
  return count === 1 ? '1 argument was given' : `${count} arguments were given`;
}

const takenText = ({ arguments: taken }: Command): string =>
  taken.length === 0 ? 'none' : taken.map(({ name }) => `<${name}>`).join(' ');

function refuseMistake(
  specs: OptionSpecs,
  { name, rawName, value, inline }: Written,
  refuse: (what: string, first?: string) => never,
): void {
  const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
  if (!spec || rawName !== `--${name}`) {
    const near = nearest(name, Object.keys(specs));
    refuse(`there is no option ${rawName}`, near === undefined ? '' : `Did you mean --${near}? `);
  } else if (spec.value === undefined) {
    if (value !== undefined) refuse(`--${name} takes no value`);
  } else if (value === undefined) refuse(`${flagOf(name, spec)}: the value is missing`);
  else if (!inline && value.length > 1 && value.startsWith('-'))
    refuse(
      `${flagOf(name, spec)}: the value is missing, for ${value} is an option`,
      `A value that begins with a dash is written --${name}=${value}. `,
    );
}

/** The one that was probably meant: at most a third of it mistyped, or begun and not ended. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const ranked = names
    .map((name) => ({ name, off: name.startsWith(word) ? 0 : distance(word, name) }))
    .filter(({ name, off }) => off <= Math.max(1, Math.floor(name.length / 3)))
    .toSorted((a, b) => a.off - b.off);
  return ranked[0]?.name;
}

/** Letters to add, drop, change, or two neighbours to swap. */
function distance(from: string, to: string): number {
  let before: readonly number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row += 1) {
    const here = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const isSame = from[row - 1] === to[column - 1];
      const isSwap =
        row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      here[column] = Math.min(
        (above[column] as number) + 1,
        (here[column - 1] as number) + 1,
        (above[column - 1] as number) + (isSame ? 0 : 1),
        isSwap ? (before[column - 2] as number) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = above;
    above = here;
  }
  return above[to.length] as number;
}
