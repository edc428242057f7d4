/** What `doorbuster-bus` says to wrong input (what, why, what to do) and of itself. */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { cli, here, jsonOf, main, useFolder } from './testing/fixture.ts';
import { commands, families, globalOptions } from './commands.ts';
import { exitCodes } from './failure.ts';

describe('wrong input says what, why and what to do', () => {
  it.each<[string, string[], number, RegExp]>([
    ['an unknown command', ['inspekt'], 2, /no command "inspekt"[\s\S]*One of: inspect/],
    ['a mistyped command', ['redrve'], 2, /Did you mean redrive\? One of/],
    ['half a command', ['dead-letters'], 2, /Did you mean dead-letters groups, or dead-letters list/],
    ['no command but an option', ['--quiet'], 2, /no command was given/],
    [
      'a mistyped option',
      ['inspect', '--wach'],
      2,
      /no option --wach[\s\S]*Did you mean --watch\? [\s\S]*--help tells more/,
    ],
    ['a mistyped option of the program', ['--urll', 'x', 'inspect'], 2, /no option --urll[\s\S]*--help/],
    ['an unknown option', ['inspect', '--frobnicate'], 2, /no option --frobnicate\nUsage: /],
    ['a letter', ['inspect', '-w'], 2, /no option -w\nDid you mean --watch\?/],
    ['a mistyped second word', ['dead-letters', 'shwo'], 2, /Did you mean dead-letters show\? One of/],
    ['an option without its value', ['inspect', '--url'], 2, /--url <url>: the value is missing\nUsage/],
    [
      'an option in the place of a value',
      ['redrive', '--limit', '-5'],
      2,
      /--limit <n>: the value is missing, for -5 [\s\S]*--limit=-5/,
    ],
    ['a value for a flag', ['redrive', '--all=yes'], 2, /--all takes no value/],
    [
      'an option twice',
      ['redrive', '--channel', 'a', '--channel', 'b'],
      2,
      /--channel was given more than once/,
    ],
    ['a required option left out', ['peek', '--channel', 'x'], 2, /--subscription is missing[\s\S]*Usage/],
    ['an argument left out', ['dead-letters', 'show'], 2, /no argument was given, it takes <id>/],
    ['an argument too many', ['inspect', 'x'], 2, /1 argument was given, it takes none/],
    ['two of them', ['dead-letters', 'show', 'x', 'y'], 2, /2 arguments were given, it takes <id>/],
    ['no engine', ['inspect'], 3, /no engine was named[\s\S]*DOORBUSTER_BUS_URL/],
    ['a scheme that no engine has', ['inspect', '--url', 'nats://x'], 2, /names no engine[\s\S]*sqlite:/],
    [
      'a file that is not there',
      ['inspect', '--url', 'sqlite:/nowhere/bus.db'],
      2,
      /no such file[\s\S]*Name the file/,
    ],
    ['a server out of reach', ['inspect', '--url', 'redis://127.0.0.1:1'], 4, /Check the URL/],
    [
      'an outbox in a file that is not there',
      ['outbox', 'parked', '--store', 'sqlite:/nowhere/shop.db'],
      2,
      /shop\.db: there is no such file\nMend --store or DOORBUSTER_STORE_URL; nothing was done/,
    ],
    [
      'an outbox at no address',
      ['outbox', 'parked', '--store', 'shop.db'],
      2,
      /begins with[\s\S]*Mend --store/,
    ],
    ['a module that is not there', ['asyncapi', '--channels', './nope.ts'], 2, /no such file/],
    [
      'a module without channels',
      ['asyncapi', '--channels', main.replace('main.ts', 'help.ts')],
      2,
      /exports no channel/,
    ],
    ['asyncapi without a title', ['asyncapi'], 2, /no title or no version[\s\S]*export service/],
    ['a time that is none', ['redrive', '--before', 'yesterday'], 2, /--before yesterday: not a time/],
    ['a number that is none', ['redrive', '--all', '--limit', 'many'], 2, /--limit many/],
    [
      'a word behind half a command',
      ['dead-letters', 'foo'],
      2,
      /no command "dead-letters foo"\nDid you mean dead-letters /,
    ],
    ['an empty message id', ['redrive', '--message-id', ''], 2, /--message-id is empty, and every message/],
    [
      'an empty id',
      ['dead-letters', 'list', '--message-id='],
      2,
      /--message-id is empty[\s\S]*Pick those by --group/,
    ],
    [
      'replay from a place that is none',
      ['replay', '--channel', 'c', '--subscription', 's', '--from', 'somewhere', '--confirm', 's'],
      2,
      /--from somewhere: no place[\s\S]*earliest, latest, a time [\s\S]*offset:<offset>/,
    ],
    ['redrive without a filter', ['redrive'], 2, /no filter was given[\s\S]*--all/],
    ['discard of all, unconfirmed', ['discard', '--all'], 2, /--confirm all/],
    ['a header without a value', ['publish', '--channel', 'x', '--header', 'y'], 2, /no data|--header/],
    [
      'replay, unconfirmed',
      ['replay', '--channel', 'c', '--subscription', 's', '--from', 'earliest'],
      2,
      /--confirm s/,
    ],
  ])('%s', async (_name, args, code, text) => {
    const result = await here(...args);
    expect(result).toMatchObject({ code, out: '' });
    expect(result.err).toMatch(text);
    expect(result.err).not.toMatch(/\n {4}at /);
  });

  describe('and names no password of an address that stands in it', () => {
    const address = 'postgres://u:secret@h/x';
    it.each<[string, string[], RegExp]>([
      ['half a command before its option', ['outbox', '--store', address], /no command "outbox"/],
      [
        'half a command before an option of all',
        ['dead-letters', '--url', address],
        /no command "dead-letters"/,
      ],
      ['a mistyped command behind it', ['--url', address, 'inspct'], /no command "inspct"/],
      ['a mistyped option', ['dead-letters', '--urll', address, 'list'], /no option --urll/],
      ['a mistyped option with =', [`--urll=${address}`, 'inspect'], /no option --urll/],
      ['an option of one dash', ['-u', address, 'inspect'], /no option -u/],
      ['no option before it', ['outbox', address], /no command "outbox postgres:\/\/h\/x"/],
      ['the option of another', ['inspect', '--channels', address], /--channels postgres:\/\/h\/x: there/],
      ['the option of another, with =', ['inspect', `--channels=${address}`], /--channels postgres:\/\/h/],
    ])('%s', async (_name, args, text) => {
      const plain = await here(...args);
      expect(plain).toMatchObject({ code: 2, out: '', err: expect.stringMatching(text) });
      expect(plain.err).not.toContain('secret');
      const json = await here(...args, '--json');
      expect(json).toMatchObject({ code: 2, err: '' });
      expect(jsonOf<{ error: string }>(json).error).toMatch(text);
      expect(json.out).not.toContain('secret');
    });
  });

  it.each<[string, string[]]>([
    [
      'between the two words of a command',
      ['dead-letters', '--json', 'groups', '--url', 'redis://127.0.0.1:1'],
    ],
    ['with its value there', ['dead-letters', '--json', '--url', 'redis://127.0.0.1:1', 'groups']],
    [
      'of the command itself there',
      ['dead-letters', '--limit', '5', 'list', '--json', '--url=redis://127.0.0.1:1'],
    ],
    [
      'of the command before it',
      ['--watch', '--every', '1', 'inspect', '--json', '--url=redis://127.0.0.1:1'],
    ],
  ])('an option may stand %s', async (_name, args) => {
    expect(jsonOf(await here(...args))).toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
  });

  it('as a process too', async () => {
    expect(await cli('inspekt')).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('One of: '),
    });
  });

  it.skipIf(!existsSync('/dev/full'))('a full disk behind stdout is a failure, in one line', () => {
    const full = openSync('/dev/full', 'w');
    try {
      const told = spawnSync(process.execPath, [main, '--help'], {
        stdio: ['ignore', full, 'pipe'],
        encoding: 'utf8',
      });
      expect(told.status).toBe(exitCodes.failed);
      expect(told.stderr).toMatch(/^doorbuster-bus: stdout could not be written: ENOSPC.*\n$/);
      const silent = spawnSync(process.execPath, [main, '--help'], { stdio: ['ignore', full, full] });
      expect(silent.status).toBe(exitCodes.failed);
    } finally {
      closeSync(full);
    }
  });

  it('with --json a failure is one JSON object on stdout', async () => {
    const result = await cli('redrive', '--json');
    expect(result.err).toBe('');
    expect(jsonOf(result)).toMatchObject({ error: 'no filter was given', code: 'CLI', exitCode: 2 });
  });
});

describe('on a Node that is too old', () => {
  const bin = fileURLToPath(new URL('../../bin/doorbuster-bus.mjs', import.meta.url));
  const old = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.19.0' } })`;
  const onOld = (...args: string[]) =>
    spawnSync(process.execPath, ['--import', `data:text/javascript,${old}`, bin, ...args], {
      encoding: 'utf8',
    });

  it('says so, and with --json as one JSON object on stdout', () => {
    const plain = onOld('inspct');
    expect(plain).toMatchObject({ status: exitCodes.configuration, stdout: '' });
    expect(plain.stderr).toBe('doorbuster-bus: Node 20.19.0 is too old\nRun it with Node 24 or later.\n');
    const json = onOld('inspct', '--json');
    expect(json).toMatchObject({ status: exitCodes.configuration, stderr: '' });
    expect(JSON.parse(json.stdout)).toEqual({
      error: 'Node 20.19.0 is too old',
      code: 'CLI',
      remedy: 'Run it with Node 24 or later.',
      exitCode: exitCodes.configuration,
    });
  });
});

describe('help', () => {
  const folder = useFolder();

  it('has every command in its overview, and a text of its own for each', async () => {
    const url = ['--url', `sqlite:${folder.path('bus.db')}`];
    const overview = await cli('--help', ...url);
    for (const { name, summary } of commands)
      expect(overview.out).toMatch(new RegExp(`${name} +${summary.slice(0, 20)}`));
    expect((await cli('redrive', '--help')).out).toContain('Usage: doorbuster-bus redrive [options]');
    expect((await cli('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(await here('inspect', '--version', ...url)).toMatchObject({ code: 0, out: '0.0.0\n' });
    expect((await here('help')).out).toContain('Commands');
    expect(readdirSync(folder.path('.'))).toEqual([]);
  });

  it.each(commands)(
    '$name: what it does, how it is written, its options, its exit codes and an example',
    async ({ name, summary, options, exits, examples }) => {
      const { code, out, err } = await here(...name.split(' '), '--help');
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).toMatch(new RegExp(`^doorbuster-bus ${name}: `));
      for (const part of [summary, `\nUsage: doorbuster-bus ${name} `, ...examples])
        expect(out).toContain(part);
      for (const option of Object.keys({ ...options, ...globalOptions }))
        expect(out).toContain(`\n  --${option}`);
      expect(examples.length).toBeGreaterThan(0);
      const told = /\nExit codes\n((?: {2}.+\n)+)/.exec(out)?.[1]?.trimEnd().split('\n');
      expect(told).toEqual(Object.entries(exits).map(([exit, when]) => `  ${exit}  ${when}`));
      expect(Object.keys(exits)).toEqual(expect.arrayContaining(['0', '1', '2']));
      expect(Object.values<number>(exitCodes)).toEqual(
        expect.arrayContaining(Object.keys(exits).map(Number)),
      );
      expect((await here('help', ...name.split(' '))).out).toBe(out);
      expect((await here(...name.split(' '), '-h')).out).toBe(out);
      expect((await here(...name.split(' '), '--quiet', '-h')).out).toBe(out);
    },
  );

  it('has a text for a first word that several commands share, with each of them', async () => {
    const firstWords = commands.flatMap(({ name }) => (name.includes(' ') ? [name.split(' ', 1)[0]] : []));
    expect(families.map(({ name }) => name)).toEqual([...new Set(firstWords)]);
    for (const { name, summary } of families) {
      const { code, out } = await here(name, '--help');
      expect(code).toBe(0);
      expect(out).toMatch(new RegExp(`^doorbuster-bus ${name}: ${summary}\n`));
      expect(out).toMatch(/\nExit codes\n {2}0 {2}[\s\S]*\nExamples\n/);
      const shown = commands.filter((one) => out.includes(`\n  ${one.name} `)).map((one) => one.name);
      expect(shown).toEqual(commands.map((one) => one.name).filter((whole) => whole.startsWith(`${name} `)));
      expect((await here('help', name)).out).toBe(out);
    }
  });

  it('is the overview where no command is named', async () => {
    const { out } = await here('--help');
    for (const bare of [['-h'], ['help'], ['help', '--help'], ['--help', '--quiet'], []])
      expect(await here(...bare)).toMatchObject({ code: 0, out });
  });

  it.each([
    ['help', 'inspekt'],
    ['inspekt', '--help'],
    ['--help', 'inspekt'],
    ['-h', '--url', 'redis://127.0.0.1:1', 'inspekt'],
  ])('of no command says what was probably meant, as without help: %s %s', async (...args) => {
    const { code, out, err } = await here(...args);
    expect({ code, out, err }).toEqual({ ...(await here('inspekt')), code: 2, out: '' });
    expect(err).toMatch(/no command "inspekt"\nDid you mean inspect\?/);
  });

  it('of half a command and a wrong second word says so too', async () => {
    for (const args of [
      ['help', 'dead-letters', 'shwo'],
      ['dead-letters', 'shwo', '--help'],
    ])
      expect(await here(...args)).toMatchObject({
        code: 2,
        out: '',
        err: expect.stringMatching(/no command "dead-letters shwo"\nDid you mean dead-letters show\?/),
      });
  });
});
