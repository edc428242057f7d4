/** The help of each command names all that it takes. */
import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { createProgram } from './program.ts';

const program = createProgram({});
const under = (one: Command): readonly Command[] => one.commands.flatMap((child) => [child, ...under(child)]);

it.each(under(program).map((command) => [command.name(), command] as const))(
  '%s --help lists the options of every command too',
  (_name, command) => {
    for (const { long } of program.options.filter(({ long: name }) => name !== '--version'))
      expect(command.helpInformation()).toContain(` ${long}`);
  },
);
