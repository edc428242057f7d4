import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { createProgram } from '../../packages/server/src/cli/program.ts';
import { generate } from './cli.ts';

describe('the page of the command line', async () => {
  const text = (await generate())[0]?.text ?? '';
  const lines = new Set(text.split('\n'));

  const every = (command: Command, path: readonly string[]): (readonly [string, Command])[] => {
    const name = [...path, command.name()];
    const inner = command.commands.flatMap((one) => every(one, name));
    return [[name.join(' '), command], ...inner];
  };
  const commands = every(createProgram({}), []).slice(1);

  it('has a section for every command and a row for every option', () => {
    expect(commands.length).toBeGreaterThan(30);
    for (const [name, command] of commands) {
      expect(lines.has(`## ${name}`) || lines.has(`### ${name}`), name).toBe(true);
      for (const option of command.options) expect(text).toContain(`| \`${option.flags}\` |`);
    }
  });

  it('describes every command and option', () => {
    for (const [name, command] of commands) {
      expect(command.description(), name).not.toBe('');
      for (const option of command.options)
        expect(option.description, `${name} ${option.flags}`).not.toBe('');
    }
  });

  it('names every exit code', () => {
    for (const code of [0, 1, 2, 3, 4, 5, 6]) expect(text).toContain(`| ${code} | `);
  });
});
