/**
 * Every `ts` and `js` block of docs/messaging and of the package's README compiles against the package, `js` without being asked for annotations. What is word for word in an example is checked and run there;
 * the rest becomes a file of its own: names that the package exports are imported, what a page takes for granted is declared here, and a fragment
 * gets back the braces it was cut from. A block that a page adds needs nothing here as long as it imports or exports what it uses.
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const examplesFolder = join(root, 'packages/messaging/examples');

interface Block {
  readonly page: string;
  readonly line: number;
  readonly code: string;
  readonly isScript: boolean;
}

/** A pool, a bus, and a channel of the reader's own. */
const onPostgres = `
    import { Pool } from 'pg';
    import type { Bus } from '@doorbuster/messaging';
    import { defineChannel as define } from '@doorbuster/messaging';
    import Schema from 'typebox';
    declare const bus: Bus;
    declare const pool: Pool;
    const orderPlaced = define({ name: 'order.placed', version: 1, schema: Schema.Object({ orderId: Schema.String() }) });`;

/** By page: what its text says is there. */
const takenForGranted: Readonly<Record<string, string>> = {
  'packages/messaging/README.md': `
    import { DatabaseSync } from 'node:sqlite';
    import type { Bus } from '@doorbuster/messaging';
    import type { EngineFixture } from '@doorbuster/messaging/conformance';
    import { orderPlaced as placed } from '../../packages/messaging/examples/channels.ts';
    declare const db: DatabaseSync;
    declare const bus: Bus;
    declare const orderPlaced: typeof placed;
    declare const createFixture: () => Promise<EngineFixture>;
    declare const it: (name: string, options: { skip: boolean }, run: () => Promise<void>) => void;`,
  'docs/messaging/patterns/inbox.md': onPostgres,
  'docs/messaging/patterns/outbox.md': onPostgres,
  'docs/messaging/patterns/contracts.md': `
    import { orderPlaced as placed } from '../../packages/messaging/examples/channels.ts';
    declare const orderPlaced: typeof placed;
    declare const orderPacked: typeof placed;`,
  'docs/messaging/patterns/sagas.md': `
    import { DatabaseSync } from 'node:sqlite';
    declare const db: DatabaseSync;`,
};

/** Fragments by their first words: what stands around them. */
const cutFrom: readonly (readonly [start: string, before: string, after: string])[] = [
  [
    'routes: [',
    `import type { RabbitEngineOptions } from '@doorbuster/messaging/engines/rabbitmq';
    import { createRabbitEngine } from '@doorbuster/messaging/engines/rabbitmq';
    const options: RabbitEngineOptions = { url: 'amqp://h',`,
    '}; createRabbitEngine(options);',
  ],
  [
    'const cloudEvent =',
    `import { randomUUID } from 'node:crypto';
    import type { ConfirmChannel } from 'amqplib';
    declare const channel: ConfirmChannel;
    declare const exchange: string;
    declare const data: unknown;`,
    '',
  ],
  [
    'const channel = await connection.createConfirmChannel',
    `import type { ChannelModel } from 'amqplib';
    declare const connection: ChannelModel;
    declare const resize: (path: string) => Promise<void>;`,
    '',
  ],
  [
    "await queue.add('resize'",
    `import { type Queue, Worker } from 'bullmq';
    declare const queue: Queue;
    declare const connection: { host: string };
    declare const resize: (path: string) => Promise<void>;`,
    '',
  ],
  [
    'await shop.prepare()',
    `import type { openSqlStore } from '@doorbuster/messaging/stores';
    declare const shop: Awaited<ReturnType<typeof openSqlStore>>;
    declare const mailer: typeof shop;`,
    '',
  ],
  [
    'await consumer.subscribe',
    // kafkajs is not installed here: its names are checked, and no more.
    `declare const consumer: any;
    declare const producer: any;
    declare const book: (key: string, entry: unknown) => Promise<void>;`,
    '',
  ],
];

/** Half a class of NestJS, which is not installed here, and a line from elsewhere. */
const noProgram = ['@MessagePattern'];
/** Modules of the reader's own -> what has the same exports here. */
const ownModules = { './order-placed.js': '../../packages/messaging/examples/channels.ts' };

const flat = (code: string): string => code.replaceAll(/\s+/g, ' ').trim();
/** Line breaks and the commas that come with them are the formatter's. */
const tight = (code: string): string => code.replaceAll(/\s+/g, '').replaceAll(/,([)}\]])/g, '$1');
const examples = globSync('*.ts', { cwd: examplesFolder })
  .filter((name) => !name.includes('.test.'))
  .map((name) => readFileSync(join(examplesFolder, name), 'utf8'));
const isShown = ({ code }: Block): boolean =>
  examples.some((one) => flat(one).includes(flat(code)) || tight(one).includes(tight(code)));

const pages = [
  ...globSync('docs/messaging/**/*.md', { cwd: root }),
  'packages/messaging/README.md',
].toSorted();
const blocks: readonly Block[] = pages.flatMap((page) => {
  const text = readFileSync(join(root, page), 'utf8');
  return [...text.matchAll(/```(ts|typescript|js|javascript)\n([\s\S]*?)```/g)].map(
    ({ index, 1: language = '', 2: code = '' }) => ({
      page,
      line: text.slice(0, index).split('\n').length + 1,
      code,
      isScript: language.startsWith('js') || language.startsWith('javascript'),
    }),
  );
});

/** Name of every value that the package exports -> the path it is imported from. */
async function exported(): Promise<ReadonlyMap<string, string>> {
  const manifest = JSON.parse(readFileSync(join(root, 'packages/messaging/package.json'), 'utf8')) as {
    exports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  };
  const names = new Map([['Type', 'typebox']]);
  for (const [path, { 'doorbuster-source': file }] of Object.entries(manifest.exports)) {
    const module = (await import(join(root, 'packages/messaging', file ?? ''))) as object;
    for (const name of Object.keys(module))
      if (!names.has(name)) names.set(name, `@doorbuster/messaging${path.slice(1)}`);
  }
  return names;
}

const saysOf = (code: string, name: string): boolean =>
  new RegExp(`\\b(?:const|let|class|function)\\s+${name}\\b|import[^;]*\\b${name}\\b`).test(code);

function programOf({ page, code }: Block, names: ReadonlyMap<string, string>): string {
  const [, before = '', after = ''] = cutFrom.find(([start]) => code.startsWith(start)) ?? [];
  const declared = (takenForGranted[page] ?? '')
    .split('\n')
    .filter(
      (line) =>
        !/declare const (\w+)/.test(line) || !saysOf(code, /declare const (\w+)/.exec(line)?.[1] ?? ''),
    )
    .filter(
      (line) => !/import \{ (\w+) \}/.test(line) || !saysOf(code, /import \{ (\w+) \}/.exec(line)?.[1] ?? ''),
    )
    .join('\n');
  const own = Object.entries(ownModules).reduce((text, [from, to]) => text.replaceAll(from, to), code);
  const whole = `${declared}\n${before}${own}${after}\nexport {};\n`;
  const imports = [...names].flatMap(([name, path]) =>
    new RegExp(`(?<![.\\w'"])${name}\\b(?!:)`).test(code) && !saysOf(whole, name)
      ? [`import { ${name} } from '${path}';`]
      : [],
  );
  return `${imports.join('\n')}\n${whole}`;
}

/** Implicit any: only annotations could mend it. */
const notAskedOfScripts = /error TS(?:7006|7031):/;

/** What the compiler says of these, by page and line. */
function faultsOf(programs: readonly { readonly block: Block; readonly text: string }[]): string[] {
  mkdirSync(join(root, '.cache'), { recursive: true });
  // Inside of the repository, so that the packages are found.
  const folder = mkdtempSync(join(root, '.cache', 'snippets-'));
  try {
    programs.forEach(({ text }, index) => writeFileSync(join(folder, `block${index}.ts`), text));
    const compilerOptions = { noEmit: true, composite: false, incremental: false, noUnusedLocals: false };
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: ['*.ts'], exclude: [] }),
    );
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const { stdout } = spawnSync(process.execPath, [compiler, '-p', folder, '--pretty', 'false'], {
      cwd: folder,
      encoding: 'utf8',
    });
    return stdout
      .split('\n')
      .filter((line) => line.includes('error'))
      .flatMap((line) => {
        const block = programs[Number(/block(\d+)\.ts/.exec(line)?.[1] ?? -1)]?.block;
        if (block?.isScript && notAskedOfScripts.test(line)) return [];
        return [block ? `${block.page}:${block.line}: ${line.replace(/^.*error /, '')}` : line];
      });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

it('every block of the pages compiles, and one that is wrong would not', { timeout: 120_000 }, async () => {
  const names = await exported();
  const own = blocks.filter(
    (block) => !isShown(block) && !noProgram.some((start) => block.code.startsWith(start)),
  );
  expect(own.filter(({ isScript }) => !isScript).length).toBeGreaterThan(8);
  expect(own.filter(({ isScript }) => isScript).length).toBeGreaterThan(4);
  const code = "const engine = createEmbeddedEngine({ pth: 'bus.db' });";
  const planted = [false, true].map((isScript) => ({ page: `planted ${isScript}`, line: 1, code, isScript }));
  const faults = faultsOf([...own, ...planted].map((block) => ({ block, text: programOf(block, names) })));
  expect(faults).toEqual([
    expect.stringMatching(/^planted false:1: TS2561.*'pth' does not exist/),
    expect.stringMatching(/^planted true:1: TS2561.*'pth' does not exist/),
  ]);
});

it('every example is run by a test', () => {
  const tests = globSync('*.test.ts', { cwd: examplesFolder })
    .map((name) => readFileSync(join(examplesFolder, name), 'utf8'))
    .join('\n');
  // A module of channels for the command line, and what the examples stand on, are run with the others.
  const parts = ['channels.ts', 'stage.ts'];
  const left = globSync('*.ts', { cwd: examplesFolder })
    .filter((name) => !name.includes('.test.') && !parts.includes(name))
    .filter((name) => !tests.includes(name) && !tests.includes(`'${name.replace('.ts', '')}'`));
  expect(left).toEqual([]);
});
