/**
 * What the functions of a module of `--channels` reject with, and what a module does beside them: told as one failure, with a code of the table and without the line of the module that
 * threw, in which the address of a database stands with its password.
 */
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import type { Failure } from './failure.ts';
import { cli, jsonOf, module, type Said, useShopFile } from './testing/fixture.ts';

const shop = useShopFile();
const ADDRESS = 'postgres://shop:topsecret@127.0.0.1:1/shop';

let count = 0;
/** Each a file of its own: what is imported once is not read again. */
function moduleOf(text: string): string {
  const path = shop.path(`channels-${(count += 1)}.mjs`);
  writeFileSync(
    path,
    `export { orderPlaced, subscriptions } from '${pathToFileURL(module).href}';\n${text}\n`,
  );
  return path;
}

async function failureOf(text: string, ...args: readonly string[]): Promise<Failure> {
  const { code, out, err } = await shop.onFileHere(...args, '--channels', moduleOf(text), '--json');
  expect(out + err).not.toContain('topsecret');
  const failure = JSON.parse(out) as Failure;
  expect(code).toBe(failure.exitCode);
  return failure;
}

const discard = ['discard', '--all', '--confirm', 'all'];
const log = (note: string): string =>
  `export const decisions = { note: ${note}, about: async () => [], since: async () => 0 };`;

/** What it exports, with which code that ends, and in which words. */
type Case = readonly [text: string, exitCode: number, error: RegExp];

it('"decisions" that fail are one failure, and nothing is discarded', async () => {
  await shop.withLetters(1);
  const cases: readonly Case[] = [
    [
      `export const decisions = async () => ({ address: '${ADDRESS}' }).store.sql;`,
      3,
      /^"decisions" of the module of --channels could not be opened: Cannot read properties of undefined/,
    ],
    [
      `export const decisions = () => { throw new Error('cannot connect to ${ADDRESS}'); };`,
      3,
      /could not be opened: cannot connect to postgres:\/\/127\.0\.0\.1:1\/shop$/,
    ],
    ['export const decisions = () => Promise.reject();', 3, /opened: undefined$/],
    [
      "export const decisions = async () => { throw Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }); };",
      3,
      /opened: ECONNREFUSED$/,
    ],
    [
      log("async () => { throw new Error('disk gone'); }"),
      1,
      /could not note what was to be done: disk gone$/,
    ],
    ['export const decisions = () => null;', 2, /not understood$/],
  ];
  for (const [text, exitCode, error] of cases)
    expect(await failureOf(text, ...discard)).toMatchObject({
      exitCode,
      error: expect.stringMatching(error),
      code: 'CLI',
    });
  expect(jsonOf<object[]>(await shop.onFileHere('dead-letters', 'list', '--json'))).toHaveLength(1);
});

const recorded = (page: string): string =>
  `{ name: 'shop', page: ${page}, recorded: async () => new Set(), keptSince: async () => 0 }`;
const empty = 'async () => ({ items: [], next: undefined })';

it('a "reconciliation" that fails is one failure', async () => {
  await shop.withLetters(0);
  const broken = recorded(`async () => { throw new Error('lost ${ADDRESS}'); }`);
  const item = "{ id: 'm-1', channel: 'order.placed', recordedAt: 1, publishedAt: 1, state: 'published' }";
  const full = recorded(`async () => ({ items: [${item}], next: undefined })`);
  const inbox = (more: string): string =>
    `{ subscription: 'mailer', channels: ['order.placed'], page: ${empty}, settled: async () => new Set(), keptSince: async () => 0, ${more} }`;
  const cases: readonly Case[] = [
    [
      `export const reconciliation = async () => { throw new Error('no route to ${ADDRESS}'); };`,
      3,
      /^"reconciliation" of .* could not be opened: no route to postgres:\/\/127/,
    ],
    [
      'export const reconciliation = { recorded: [{}], settled: [{ subscription: "mailer", channels: [] }] };',
      2,
      /recorded\[0\] has no name, page, recorded, keptSince; settled\[0\] has no page, settled, keptSince$/,
    ],
    [
      `export const reconciliation = { recorded: [${broken}], settled: [] };`,
      1,
      /^"recorded" of "reconciliation" of .*, source "shop", could not be read: lost postgres:\/\/127\.0\.0\.1:1\/shop$/,
    ],
    [
      `export const reconciliation = { recorded: [${full}], settled: [${inbox('settled() { throw undefined; }')}] };`,
      1,
      /^"settled" of "reconciliation" of .*, source "mailer", could not be read: undefined$/,
    ],
    [
      `export const reconciliation = { recorded: [${full}], settled: [${inbox("takes: () => { throw new Error('no route'); }")}] };`,
      1,
      /source "mailer", could not be read: no route$/,
    ],
  ];
  for (const [text, exitCode, error] of cases)
    expect(await failureOf(text, 'reconcile')).toMatchObject({
      exitCode,
      code: 'CLI',
      error: expect.stringMatching(error),
    });
});

it('a "reconciliation" that cannot be closed has reconciled all the same', async () => {
  await shop.withLetters(0);
  const close = `close: async () => { throw new Error('gone: ${ADDRESS}'); }`;
  const channels = moduleOf(
    `export const reconciliation = { recorded: [${recorded(empty)}], settled: [], ${close} };`,
  );
  const said = await shop.onFileHere('reconcile', '--channels', channels, '--json');
  expect(said).toMatchObject({
    code: 0,
    err: '"reconciliation" of the module of --channels could not be closed: gone: postgres://127.0.0.1:1/shop\n',
  });
  expect(jsonOf(said)).toMatchObject({ verdict: 'clean' });
});

it('what no run can catch is one failure, too: what nobody awaits, and what never comes', async () => {
  const run = (name: string, text: string): Promise<Said> => {
    writeFileSync(shop.path(name), text);
    return cli('asyncapi', '--channels', shop.path(name), '--json');
  };
  const [thrown, waiting] = await Promise.all([
    run(
      'thrown.mjs',
      `setImmediate(() => { throw new Error('idle ${ADDRESS} broke'); });\nawait new Promise(() => {});`,
    ),
    run('waiting.mjs', 'await new Promise(() => {});'),
  ]);
  expect(jsonOf(thrown)).toMatchObject({
    error: 'unexpected: Error: idle postgres://127.0.0.1:1/shop broke',
    code: 'UNEXPECTED',
    exitCode: 1,
  });
  expect(thrown).toMatchObject({ code: 1, err: expect.stringMatching(/^ +at .*thrown\.mjs:1:/) });
  expect(thrown.err).not.toContain('topsecret');
  expect(waiting.code).toBe(1);
  expect(jsonOf(waiting)).toMatchObject({
    error: expect.stringContaining('it waits for something'),
    remedy: expect.stringContaining('a promise that is never settled'),
    exitCode: 1,
  });
});
