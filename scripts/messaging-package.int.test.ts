// @doorbuster/messaging as a stranger gets it: compiled as `npm run build` compiles it, packed, and installed into an empty folder in which there is no server's
// client; then into a second one with the client of each engine, where the quickstart moves from engine to engine. The build goes to a folder of its own, so that whoever reads dist/ meanwhile is not disturbed.

import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { cleanKafka, cleanRabbit, cleanRedis } from '../packages/messaging/src/testing/example-leftovers.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'packages/messaging');
const compiler = join(root, 'node_modules/typescript/bin/tsc');
const work = mkdtempSync(join(tmpdir(), 'messaging-package-'));
/** Where packing looks for the guides, two folders above the package. */
const repository = join(work, 'repository');
const built = join(repository, 'packages/messaging');
const shop = join(work, 'shop');
const team = join(work, 'team');
const installed = join(shop, 'node_modules/@doorbuster/messaging');

interface Manifest {
  readonly exports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>;
}
const manifest = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as Manifest;

/** Without the flags of this test's own process: a stranger's Node knows no condition of ours. */
const environment = { ...process.env, NODE_OPTIONS: '' };

function run(command: string, args: readonly string[], cwd: string): { code: number; output: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', env: environment });
  return { code: status ?? 1, output: `${stdout}${stderr}` };
}

const node = (code: string): { code: number; output: string } =>
  run(process.execPath, ['--input-type=module', '--eval', code], shop);

function must(command: string, args: readonly string[], cwd: string): void {
  const { code, output } = run(command, args, cwd);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${output}`);
}

beforeAll(() => {
  mkdirSync(built, { recursive: true });
  symlinkSync(join(root, 'docs'), join(repository, 'docs'));
  mkdirSync(shop);
  const dist = ['--outDir', join(built, 'dist'), '--tsBuildInfoFile', join(built, 'dist/.tsbuildinfo')];
  must(process.execPath, [compiler, '-p', join(source, 'tsconfig.build.json'), ...dist], root);
  for (const file of ['package.json', 'README.md', 'LICENSE']) cpSync(join(source, file), join(built, file));
  for (const folder of ['bin', 'examples'])
    cpSync(join(source, folder), join(built, folder), { recursive: true });
  must('npm', ['pack', '--silent', '--pack-destination', work], built);
  const [tarball = ''] = globSync('*.tgz', { cwd: work });
  writeFileSync(join(shop, 'package.json'), '{ "name": "shop", "private": true, "type": "module" }\n');
  const quiet = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
  must('npm', ['install', ...quiet, join(work, tarball)], shop);
}, 180_000);

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Modules that a packed file imports, or starts by its address. */
function neighbours(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const found = [
    ...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'|new URL\('(\.[^']+)', import\.meta\.url\)/g),
  ];
  return found.map(([, imported, started]) => join(dirname(file), imported ?? started ?? ''));
}

/** Whoever starts a file by a name it puts together says so here. */
const startedByName = [
  'engines/embedded/writer-thread.js',
  'conformance/child.js',
  'conformance/lock-child.js',
  'cli/main.js',
];

describe('the tarball', () => {
  const packed = (): string[] => globSync('**/*', { cwd: installed }).filter((path) => /\.\w+$/.test(path));

  it('holds what every export points to', () => {
    for (const [name, { types, default: code }] of Object.entries(manifest.exports))
      for (const path of [types, code])
        expect({ name, path, exists: existsSync(join(installed, path ?? '')) }).toMatchObject({
          exists: true,
        });
  });

  it('holds no tests, no sources, no leftovers of the compiler, and the licence', () => {
    const files = packed();
    expect(files.filter((path) => /test|\.map$|tsbuildinfo|^src\//.test(path))).toEqual([]);
    const isCode = (path: string): boolean => path.endsWith('.ts') && !path.endsWith('.d.ts');
    expect(files.filter((path) => isCode(path) && !path.startsWith('examples/'))).toEqual([]);
    expect(existsSync(join(installed, 'LICENSE'))).toBe(true);
    expect(readFileSync(join(source, 'LICENSE'), 'utf8')).toBe(readFileSync(join(root, 'LICENSE'), 'utf8'));
  });

  it('holds no code that nobody can reach', () => {
    const dist = join(installed, 'dist');
    const reached = new Set<string>();
    const waiting = [
      ...Object.values(manifest.exports).map(({ default: code }) => join(installed, code ?? '')),
      ...startedByName.map((name) => join(dist, name)),
    ];
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
      if (reached.has(file)) continue;
      reached.add(file);
      waiting.push(...neighbours(file));
    }
    const all = globSync('**/*.js', { cwd: dist }).map((path) => join(dist, path));
    // What holds nothing but types is an empty module.
    const isEmpty = (file: string): boolean =>
      !/^(?!\/[/*]| \*|export \{\};)\S/m.test(readFileSync(file, 'utf8'));
    expect(all.filter((file) => !reached.has(file) && !isEmpty(file))).toEqual([]);
  });

  it('is not made at all where nothing was built', () => {
    const fresh = join(work, 'fresh');
    cpSync(join(source, 'bin'), join(fresh, 'bin'), { recursive: true });
    cpSync(join(source, 'package.json'), join(fresh, 'package.json'));
    const { code, output } = run('npm', ['pack', '--pack-destination', fresh], fresh);
    expect(code).not.toBe(0);
    expect(output).toContain('is not built: ./dist/cli/main.js is missing');
    expect(output).toContain('npm run build');
    expect(globSync('*.tgz', { cwd: fresh })).toEqual([]);
  });

  it('has a README that leads nowhere outside of it', () => {
    const readme = readFileSync(join(installed, 'README.md'), 'utf8');
    const links = [...readme.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? '');
    const isThere = (target: string): boolean =>
      /^(https:|#)/.test(target) || existsSync(join(installed, target.split('#', 1)[0] ?? ''));
    expect(links.filter((target) => !isThere(target))).toEqual([]);
    // Pages are named by their paths, and are there.
    const named = [...readme.matchAll(/`((?:docs|examples)\/[^`]+\.(?:md|ts))`/g)].map(
      ([, path]) => path ?? '',
    );
    expect(named.length).toBeGreaterThan(5);
    const ofRepository = 'docs/internals/engine-folders.md';
    expect(readme).toContain(`of the repository have one set of files; its \`${ofRepository}\``);
    expect(named.filter((path) => !existsSync(join(installed, path)))).toEqual([ofRepository]);
  });

  it('has every guide, and none of them leads nowhere', () => {
    const pages = globSync('docs/messaging/**/*.md', { cwd: root });
    expect(pages.filter((page) => !existsSync(join(installed, page)))).toEqual([]);
    const linksOf = (page: string): string[] =>
      [...readFileSync(join(installed, page), 'utf8').matchAll(/\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)/g)]
        .map(([, target]) => join(dirname(page), target ?? ''))
        .filter((target) => !existsSync(join(installed, target)));
    expect([...pages, 'docs/reference/errors.md'].flatMap(linksOf)).toEqual([]);
    const guides = readFileSync(join(installed, 'docs/messaging/README.md'), 'utf8');
    expect(guides).toContain('[README of the package](../../README.md)');
    expect(guides).toContain(
      "what is in an engine's folder (`docs/internals/engine-folders.md` of the repository)",
    );
  });

  it("names a version of OpenTelemetry's API that the package and the SDK of the example take", () => {
    const sdk = JSON.parse(
      readFileSync(join(root, 'node_modules/@opentelemetry/sdk-trace-base/package.json'), 'utf8'),
    ) as { version: string; peerDependencies: Record<string, string> };
    expect(sdk.peerDependencies['@opentelemetry/api']).toMatch(/ <1\.10\.0$/);
    expect(manifest.peerDependencies['@opentelemetry/api']).toBe('^1.9.0');
    const page = readFileSync(join(installed, 'docs/messaging/patterns/tracing.md'), 'utf8');
    expect(page).toContain(`The SDK at version ${sdk.version} takes it below 1.10 only`);
    for (const text of [page, readFileSync(join(installed, 'README.md'), 'utf8')])
      expect(text).toContain('@opentelemetry/api@~1.9');
  });

  it('runs nothing when it is installed, and brings no client of a server', () => {
    // What npm runs at an installation; prepack is for whoever packs.
    expect(Object.keys(manifest.scripts ?? {})).toEqual(['prepack']);
    expect(existsSync(join(installed, 'bin/built.mjs'))).toBe(false);
    for (const name of Object.keys(manifest.peerDependencies)) {
      expect(manifest.peerDependenciesMeta[name]).toEqual({ optional: true });
      expect({ name, isThere: existsSync(join(shop, 'node_modules', name)) }).toMatchObject({
        isThere: false,
      });
    }
  });
});

describe('in a project without any client', () => {
  it('loads, and so do the parts that need no client', () => {
    const { code, output } = node(`
      const { createBus } = await import('@doorbuster/messaging');
      const { createEmbeddedEngine } = await import('@doorbuster/messaging/engines/embedded');
      const { testEngine } = await import('@doorbuster/messaging/conformance');
      console.log(typeof createBus, typeof createEmbeddedEngine, typeof testEngine);
      const { lockCases } = await import('@doorbuster/messaging/conformance/locks');
      const { leaderCases } = await import('@doorbuster/messaging/conformance/leaders');
      const { streamCases } = await import('@doorbuster/messaging/conformance/streams');
      console.log([lockCases, leaderCases, streamCases].every((cases) => cases.length > 0));`);
    expect({ code, output }).toEqual({ code: 0, output: 'function function function\ntrue\n' });
  });

  it('brings its command line, which its README calls as npm finds it', () => {
    const npx = run('npx', ['--no-install', 'doorbuster-bus', '--version'], shop);
    expect(npx).toMatchObject({ code: 0, output: expect.stringMatching(/\d+\.\d+\.\d+/) });
    const readme = readFileSync(join(installed, 'README.md'), 'utf8');
    expect(readme).toMatch(/^npx doorbuster-bus /m);
    expect(readme).not.toMatch(/^doorbuster-bus /m);
    const { code, output } = run(
      process.execPath,
      [join(installed, 'bin/doorbuster-bus.mjs'), '--version'],
      shop,
    );
    expect({ code, output }).toMatchObject({ code: 0, output: expect.stringMatching(/\d+\.\d+\.\d+/) });
  });

  it('runs the quickstart of its README', () => {
    const quickstart = readFileSync(join(source, 'examples/quickstart.ts'), 'utf8');
    writeFileSync(join(shop, 'quickstart.ts'), quickstart);
    const { code, output } = run(process.execPath, ['quickstart.ts'], shop);
    expect(code, output).toBe(0);
    expect(output).toContain('stored: disk');
    expect(output).toContain('attempt 2: order A-1');
  });

  it('runs an example that is copied out of it', () => {
    for (const file of ['retries.ts', 'stage.ts'])
      cpSync(join(installed, 'examples', file), join(shop, file));
    const { code, output } = run(process.execPath, ['retries.ts'], shop);
    expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('1 redriven') });
  });

  it('runs the outbox of its README on the bus of its quickstart, and the command that looks at it', () => {
    const readme = readFileSync(join(installed, 'README.md'), 'utf8');
    const [quickstart = '', outbox = ''] = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(
      ([, code]) => code,
    );
    const published = /const confirmation = [\s\S]*?durability}`\);\n/;
    expect(quickstart).toMatch(published);
    const whole = quickstart
      .replace(published, outbox)
      .replace('await bus.stop()', 'await relay.stop();\n$&');
    writeFileSync(join(shop, 'outbox.ts'), whole);
    const { code, output } = run(process.execPath, ['outbox.ts'], shop);
    expect({ code, output }).toEqual({
      code: 0,
      output: 'attempt 1: order A-1\nattempt 2: order A-1\n',
    });
    const [, command = ''] = /^npx (doorbuster-bus outbox parked --store \S+)/m.exec(readme) ?? [];
    expect(run('npx', ['--no-install', ...command.split(' ')], shop)).toMatchObject({
      code: 0,
      output: '(none)\n',
    });
  });

  const clients = [
    ['rabbitmq', 'amqplib'],
    ['redis', 'redis'],
    ['redis-pubsub', 'redis'],
    ['redis-lists', 'redis'],
    ['kafka', '@platformatic/kafka'],
  ].filter(([engine]) => Object.hasOwn(manifest.exports, `./engines/${engine}`));
  it.each(clients)('says which package the %s engine needs', (engine, client) => {
    const { code, output } = node(`await import('@doorbuster/messaging/engines/${engine}');`);
    expect(code).not.toBe(0);
    expect(output).toContain(`Cannot find package '${client}'`);
  });
});

/** What the author of an engine writes around the loop that the README shows. */
const ownFixture = `
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { capabilitiesOf, testEngine } from '@doorbuster/messaging/conformance';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
async function createFixture() {
  const folder = mkdtempSync(join(tmpdir(), 'my-engine-'));
  const path = join(folder, 'bus.db');
  return {
    open: () => createEmbeddedEngine({ path }),
    child: { module: new URL('./my-engine.mjs', import.meta.url), argument: path },
    destroy: async () => rmSync(folder, { recursive: true }),
  };
}
`;
const ownEngine = `
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
export const openEngine = (path) => createEmbeddedEngine({ path });
`;

describe('the conformance suite, as the author of an engine runs it', () => {
  const killed = 'SIGKILL in the handler: the message comes again';

  /** The cases with these words in their names, by the runner of Node; by name what became of each. */
  function suite(...words: string[]): { code: number; output: string; cases: Record<string, string> } {
    const readme = readFileSync(join(installed, 'README.md'), 'utf8');
    const [, loop = ''] = /```ts\n([^`]*testEngine\([^`]*)```/.exec(readme) ?? [];
    writeFileSync(join(shop, 'my-engine.test.mjs'), ownFixture + loop);
    writeFileSync(join(shop, 'my-engine.mjs'), ownEngine);
    const those = `--test-name-pattern=${words.join('|')}`;
    const args = ['--test', '--test-reporter=tap', those, 'my-engine.test.mjs'];
    const { code, output } = run(process.execPath, args, shop);
    const told = [...output.matchAll(/^ *(ok|not ok) \d+ - my engine: (.*?)( # SKIP.*)?$/gm)];
    const cases = told.map(([, result = '', name = '', skipped]) => [name, skipped ? 'skipped' : result]);
    return { code, output, cases: Object.fromEntries(cases) as Record<string, string> };
  }

  it('runs from the package as the README says, kills included, without what the engine cannot do', () => {
    const wanted = [
      'messages arrive once, oldest first, with everything they were published with',
      'everything survives a restart: backlog, retries with their attempts, dead letters',
      'a discarded dead letter is gone',
      'SIGKILL between receive and handle: everything comes again, counted as an attempt',
      killed,
      'SIGKILL between confirms: every confirmed message is there',
    ];
    const cannot = ['broadcast: two consumers', 'peek shows a payload that is no CloudEvent'];
    const { code, output, cases } = suite(...wanted, ...cannot);
    expect(code, output).toBe(0);
    const passed = Object.keys(cases).filter((name) => cases[name] === 'ok');
    expect(passed.toSorted()).toEqual(wanted.toSorted());
    const skipped = Object.keys(cases).filter((name) => cases[name] === 'skipped');
    expect(skipped).toHaveLength(cannot.length);
    for (const words of cannot) expect(skipped.some((name) => name.startsWith(words))).toBe(true);
  });

  it('fails where the package lacks the process that is to be killed', () => {
    const child = join(installed, 'dist/conformance/child.js');
    renameSync(child, `${child}.away`);
    const without = suite(killed);
    renameSync(`${child}.away`, child);
    expect(without.cases).toEqual({ [killed]: 'not ok' });
    expect(without).toMatchObject({
      code: 1,
      output: expect.stringContaining('a child process did not start'),
    });
  });
});

describe('its types', () => {
  /** A program for everything that is exported, or for what needs no client. */
  function compile(
    names: readonly string[],
    ...options: readonly string[]
  ): { code: number; output: string } {
    const imports = names.map(
      (name, index) => `import type * as part${index} from '@doorbuster/messaging${name.slice(1)}';`,
    );
    const uses = names.map((_, index) => `typeof part${index}`);
    writeFileSync(
      join(shop, 'program.ts'),
      `${imports.join('\n')}
import { ack, createBus, defineChannel } from '@doorbuster/messaging';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
import { Type } from 'typebox';
const placed = defineChannel({ name: 'placed', version: 1, schema: Type.Object({ total: Type.Number() }) });
const bus = createBus({ engine: createEmbeddedEngine({ path: 'bus.db' }), source: '/shop' });
bus.subscribe(placed, { name: 'one', handler: ({ data }) => (data.total.toFixed(2) ? ack() : ack()) });
// @ts-expect-error the contract wants a number
void bus.publish(placed, { total: 'much' });
export type All = [${uses.join(', ')}];
`,
    );
    const strict = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--target', 'es2025'];
    const modules = ['--module', 'nodenext', '--types', 'node'];
    return run(process.execPath, [compiler, ...strict, ...modules, ...options, 'program.ts'], shop);
  }

  beforeAll(() => {
    // What a project has that uses TypeScript on Node; taken from here, so that nothing is fetched for it.
    mkdirSync(join(shop, 'node_modules/@types'), { recursive: true });
    for (const name of ['@types/node', 'undici-types'])
      symlinkSync(join(root, 'node_modules', name), join(shop, 'node_modules', name));
  });

  it('take the quickstart under the options that a new project has and the two that the README names', () => {
    const fresh = join(shop, 'fresh');
    mkdirSync(fresh);
    must(process.execPath, [compiler, '--init'], fresh);
    const { channels, main } = quickstartOf(
      readFileSync(join(installed, 'docs/messaging/quickstart.md'), 'utf8'),
    );
    writeFileSync(join(fresh, 'channels.ts'), channels);
    writeFileSync(join(fresh, 'one-url.ts'), main);
    const check = (...options: readonly string[]): string =>
      run(process.execPath, [compiler, '-p', fresh, '--noEmit', ...options], shop).output;
    const readme = readFileSync(join(installed, 'README.md'), 'utf8');
    expect(readme).toContain('`"types": ["node"]`');
    expect(readme).toContain('`"rewriteRelativeImportExtensions": true`');
    expect(check('--types', 'node', '--rewriteRelativeImportExtensions')).toBe('');
    expect(check('--types', 'node')).toContain('TS5097');
  });

  it('resolve for every export', () => {
    expect(compile(Object.keys(manifest.exports), '--skipLibCheck')).toEqual({ code: 0, output: '' });
  });

  it('hold without skipLibCheck where no client is needed', { timeout: 240_000 }, () => {
    const names = Object.keys(manifest.exports).filter(
      (name) => !/rabbitmq|redis|kafka|otel|telemetry/.test(name),
    );
    expect(compile(names)).toEqual({ code: 0, output: '' });
  });
});

/** A package as it lies here, at its pinned version, and what it depends on: no registry is asked. A package of another version may lie inside of the one that wants it. */
function lay(name: string, from: string, to: string, laid: Set<string>): void {
  const nested = join(from, 'node_modules', name);
  if (from !== root && existsSync(nested)) return;
  const place = join(root, 'node_modules', name);
  if (laid.has(name) || !existsSync(place)) return;
  laid.add(name);
  cpSync(place, join(to, 'node_modules', name), { recursive: true });
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
    readFileSync(join(place, 'package.json'), 'utf8'),
  ) as Record<string, Readonly<Record<string, string>> | undefined>;
  for (const one of Object.keys({ ...dependencies, ...optionalDependencies })) lay(one, place, to, laid);
}

/** The quickstart as its page shows it: the first block is `channels.ts`, the others are one file. */
function quickstartOf(page: string): { readonly channels: string; readonly main: string } {
  const [channels = '', ...rest] = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code ?? '');
  return { channels, main: rest.join('\n') };
}

describe("a team's hour: the quickstart, and nothing but a URL", () => {
  const clients = ['amqplib', '@platformatic/kafka', 'redis'];
  const handled = ['attempt 1: order A-1', 'attempt 2: order A-1'];

  beforeAll(() => {
    mkdirSync(team);
    for (const file of ['package.json', 'node_modules']) {
      // What the other parts of this test linked in is not the team's.
      const own = (path: string): boolean => !/node_modules\/(?:@types|undici-types)/.test(path);
      cpSync(join(shop, file), join(team, file), { recursive: true, filter: own });
    }
    const laid = new Set<string>();
    for (const client of clients) lay(client, root, team, laid);
    const page = quickstartOf(readFileSync(join(root, 'docs/messaging/quickstart.md'), 'utf8'));
    writeFileSync(join(team, 'channels.ts'), page.channels);
    writeFileSync(join(team, 'one-url.ts'), page.main);
  });

  const move = (url?: string): { code: number; lines: string[] } => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['one-url.ts'], {
      cwd: team,
      encoding: 'utf8',
      env: { ...environment, BUS_URL: url },
      timeout: 50_000,
    });
    return { code: status ?? 1, lines: `${stdout}${stderr}`.trimEnd().split('\n') };
  };

  it('has the clients of the pinned versions, which the package takes', () => {
    const pinned = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      devDependencies: Record<string, string>;
    };
    for (const name of clients) {
      const path = join(team, 'node_modules', name, 'package.json');
      const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string };
      expect({ name, version }).toEqual({ name, version: pinned.devDependencies[name] });
      // The Kafka engine builds on parts of its client that no range promises.
      const range = name === '@platformatic/kafka' ? version : `^${version}`;
      expect(manifest.peerDependencies[name]).toBe(range);
    }
  });

  it('on a file prints what the page says', () => {
    const page = readFileSync(join(root, 'docs/messaging/quickstart.md'), 'utf8');
    const [, printed = ''] = /```text\n([\s\S]*?)```/.exec(page) ?? [];
    const { code, lines } = move();
    expect({ code, lines: lines.toSorted() }).toEqual({
      code: 0,
      lines: printed.trimEnd().split('\n').toSorted(),
    });
  });

  const servers = [
    { name: 'RabbitMQ', variable: 'RABBITMQ_URL', stored: /^stored: disk$/, clean: cleanRabbit },
    { name: 'Kafka', variable: 'KAFKA_URL', stored: /^stored: (?:memory|replicated)$/, clean: cleanKafka },
    { name: 'Redis', variable: 'REDIS_URL', stored: /^stored: (?:memory|disk)$/, clean: cleanRedis },
  ];
  for (const { name, variable, stored, clean } of servers) {
    const url = process.env[variable] ?? '';
    it.skipIf(url === '')(`on ${name} (needs ${variable})`, async () => {
      const prefix = `hour${process.pid}.`;
      onTestFinished(() => clean(url, prefix));
      const address = `${url}${url.includes('?') ? '&' : '?'}prefix=${prefix}`;
      const { code, lines } = move(address);
      const attempts = lines.filter((line) => line.startsWith('attempt'));
      expect({ code, attempts }, lines.join('\n')).toEqual({ code: 0, attempts: handled });
      const rest = lines.filter((line) => !line.startsWith('attempt'));
      expect(rest).toEqual([expect.stringMatching(stored)]);
      const bin = join(team, 'node_modules/@doorbuster/messaging/bin/doorbuster-bus.mjs');
      const looking = ['inspect', '--url', address, '--channels', 'channels.ts'];
      const look = run(process.execPath, [bin, ...looking], team);
      expect(look).toMatchObject({ code: 0, output: expect.stringMatching(/order\.placed +mailer +0/) });
      expect(look.output).not.toMatch(/Not there|names no subscriptions/);
    });
  }
});
