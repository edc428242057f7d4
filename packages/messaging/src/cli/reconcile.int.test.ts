/** `reconcile` on sources of a module: what is lost is found, published again only when asked, and gone on with from a report. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import type { EngineView, OutgoingMessage, SubscriptionView } from '../engine.ts';
import type { ReconciliationReport } from '../reconciliation-report.ts';
import { inProcess, main, type Said } from './testing/fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'reconcile-cli-'));
const module = join(folder, 'channels.mjs');
const withoutSources = join(folder, 'bare.mjs');
const index = new URL('../index.ts', import.meta.url).href;

/** Two recorded and published long ago; the inbox knows the first. */
const sources = `
const message = (id) => ({ id, type: 'order.placed', version: 1, source: '/s', time: '2020-01-01T00:00:00Z', data: 1, headers: {} });
const item = (id) => ({
  id, channel: 'order.placed', key: undefined, recordedAt: 1, publishedAt: 1, state: 'published',
  outgoing: { channel: 'order.placed', message: message(id) },
});
const pageOf = (items) => async (_window, { after, limit }) => {
  const at = after === undefined ? 0 : Number(after);
  const next = at + limit < items.length ? String(at + limit) : undefined;
  return { items: items.slice(at, at + limit), next };
};
export const reconciliation = async () => ({
  recorded: [{ name: 'shop', page: pageOf([item('m-1'), item('m-2')]), recorded: async (ids) => new Set(ids), keptSince: async () => 0 }],
  settled: [{
    subscription: 'mailer', channels: ['order.placed'], page: pageOf([{ id: 'm-1', settledAt: 2 }]),
    settled: async (ids) => new Set(ids.filter((id) => id === 'm-1')), keptSince: async () => 0,
  }],
  close: async () => {},
});
`;

beforeAll(() => {
  const channel = `import { defineChannel } from '${index}';\nexport const placed = defineChannel({ name: 'order.placed', version: 1, schema: {} });\n`;
  writeFileSync(module, channel + sources);
  writeFileSync(withoutSources, channel);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What an engine that cannot list would show: of the mailer, and of another without an inbox. */
function viewOf(mailer: Partial<SubscriptionView> | undefined, ...others: readonly string[]): EngineView {
  const one = (name: string, more: Partial<SubscriptionView>): SubscriptionView => ({
    name,
    ready: 0,
    delayed: 0,
    waitingForKey: 0,
    inFlight: 0,
    oldestAgeMs: undefined,
    deadLetters: [],
    expired: 0,
    consumers: 0,
    ...more,
  });
  const subscriptions = [...(mailer ? [one('mailer', mailer)] : []), ...others.map((name) => one(name, {}))];
  const channels = [{ name: 'order.placed', subscriptions, scheduled: 0 }];
  return { engine: 'embedded', storedBytes: undefined, showsAll: false, channels };
}

async function say(
  args: readonly string[],
  stdin = '',
  view?: EngineView,
): Promise<Said & { published: string[] }> {
  const published: string[] = [];
  const said = await inProcess(['reconcile', ...args], {
    stdin,
    env: { DOORBUSTER_BUS_URL: 'sqlite:./bus.db', NO_COLOR: '1' },
    openEngine: async () => ({
      name: 'embedded',
      connect: async (context) => {
        const real = await createInProcessEngine(new DatabaseSync(':memory:')).connect(context);
        const publish = (batch: readonly OutgoingMessage[]) => {
          published.push(...batch.map((one) => one.message.id));
          return real.publish(batch);
        };
        return new Proxy(real, {
          get: (target, name) => {
            if (name === 'publish') return publish;
            if (name === 'inspect' && view) return async () => view;
            const value = Reflect.get(target, name) as unknown;
            return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
          },
        });
      },
    }),
  });
  return { ...said, published };
}

describe('reconcile', () => {
  it('finds what is lost and publishes nothing', async () => {
    const found = await say(['--channels', module]);
    expect(found).toMatchObject({ code: 1, published: [] });
    expect(found.out).toMatch(/1 {2}lost/);
    expect(found.out).toContain('lost: order.placed m-2');
    expect(found.out).toContain('0 could be published again; nothing was');
    expect(found.out).toContain('ask again with --assume-undecided; export "decisions"');
    const vouched = await say(['--channels', module, '--assume-undecided']);
    expect(vouched).toMatchObject({ code: 1, published: [] });
    expect(vouched.out).toContain('1 could be published again; nothing was');
  });

  it('publishes it again, with its id, when asked to', async () => {
    const repaired = await say(['--channels', module, '--repair', '--assume-undecided', '--json']);
    expect(repaired.published).toEqual(['m-2']);
    expect((JSON.parse(repaired.out) as ReconciliationReport).repair).toMatchObject({
      mode: 'republish',
      republished: 1,
    });
    const told = await say(['--channels', module, '--repair', '--assume-undecided']);
    // All that was wrong is on its way, and nobody has settled it yet.
    expect(told).toMatchObject({
      code: 1,
      out: expect.stringMatching(/1 of 1 published again\nnot clean\n$/),
    });
    expect(told.err).toContain('before the next --repair: it would publish it once more');
    expect((await say(['--channels', module])).err).not.toContain('the next --repair');
  });

  it('leaves alone the channels of --in-order, and refuses one that nothing has before it publishes', async () => {
    const repair = ['--channels', module, '--repair', '--assume-undecided'];
    expect(await say([...repair, '--in-order', 'order.placed'])).toMatchObject({ code: 1, published: [] });
    expect(await say([...repair, '--in-order', 'order.placed', '--in-order', 'order.plaecd'])).toMatchObject({
      code: 2,
      out: '',
      published: [],
      err: expect.stringMatching(/no channel of .* is "order\.plaecd"\nIt has: order\.placed\./),
    });
  });

  it.each([
    [['--in-order', 'order.placed'], /--in-order: of no use without --repair/],
    [['--in-order', 'order.placed', '--without-inbox'], /--in-order and --without-inbox: of no use/],
    [
      ['--from', '2020-01-02T00:00:00Z', '--to', '2020-01-01T00:00:00Z'],
      /--from .* is not before --to 2020-01-01/,
    ],
    [['--earlier', 'none.json', '--from', '2020-01-01T00:00:00Z'], /--from: of no use with --earlier/],
    [
      ['--earlier', '-', '--from', '2020-01-01T00:00:00Z', '--to', '2020-01-02T00:00:00Z'],
      /--from and --to: of no use with --earlier/,
    ],
    [['--from', '2999-01-01T00:00:00Z'], /--from 2999-01-01T00:00:00Z is not before now/],
  ])('refuses what would do nothing, or look at nothing: %j', async (args, text) => {
    const refused = await say(['--channels', module, ...args]);
    expect(refused).toMatchObject({ code: 2, out: '', err: expect.stringMatching(text) });
  });

  it('says that what waits in a backlog may be lost behind it', async () => {
    const hint = /of the 1 waitingInEngine: .* or lost behind it; ask again when it is worked off\n/;
    const waiting = await say(['--channels', module], '', viewOf({ ready: 1 }));
    expect(waiting).toMatchObject({ code: 0, out: expect.stringMatching(hint) });
    expect((await say(['--channels', module])).out).not.toMatch(hint);
  });

  it.each<[string, string, string, readonly string[], EngineView | undefined, string]>([
    [
      'parked',
      "state: 'published'",
      "state: 'parked', reason: 'too large'",
      [],
      undefined,
      'outbox retry after',
    ],
    ['nobody noted', '', '', [], undefined, 'export "decisions"'],
    [
      'no inbox',
      '',
      '',
      ['--assume-undecided'],
      viewOf({}, 'report'),
      'allow it with --repair --without-inbox',
    ],
    ['blind', '', '', ['--assume-undecided'], viewOf(undefined), 'in "subscriptions" of the module'],
    ['partial', '', '', ['--assume-undecided'], viewOf({ partial: ['inFlight'] }), '--assume-idle'],
  ])('has its remedies in words of the command line: %s', async (name, from, to, args, view, words) => {
    const path = join(folder, `remedy-${name.replace(' ', '-')}.mjs`);
    writeFileSync(path, readFileSync(module, 'utf8').replace(from, to));
    const { out } = await say(['--channels', path, ...args, '--json'], '', view);
    const { needsPerson } = (JSON.parse(out) as ReconciliationReport).repair;
    expect(needsPerson[0]?.remedy).toContain(words);
    for (const { remedy } of needsPerson) expect(remedy).not.toMatch(/\b[a-z]+[A-Z]|\brewind\b|a bus\b/);
  });

  it('leaves to a person what a person may have decided about, unless somebody vouches or it was noted', async () => {
    const repaired = await say(['--channels', module, '--repair', '--json']);
    expect(repaired.published).toEqual([]);
    expect((JSON.parse(repaired.out) as ReconciliationReport).repair).toMatchObject({
      republishable: 0,
      needsPerson: [{ id: 'm-2', why: expect.stringContaining('perhaps a person decided about it') }],
    });
    const noting = join(folder, 'noting.mjs');
    const log = (about: string): string =>
      `export const decisions = { since: async () => 0, about: async () => [${about}], note: async () => {} };`;
    writeFileSync(noting, `${readFileSync(module, 'utf8')}\n${log('')}`);
    expect((await say(['--channels', noting, '--repair'])).published).toEqual(['m-2']);
    const decided = join(folder, 'decided.mjs');
    const discarded =
      "{ kind: 'discarded', channel: 'order.placed', subscription: 'mailer', messageId: 'm-2', at: 1 }";
    writeFileSync(decided, `${readFileSync(module, 'utf8')}\n${log(discarded)}`);
    const clean = await say(['--channels', decided, '--repair', '--assume-undecided']);
    expect(clean).toMatchObject({ code: 0, published: [] });
    expect(clean.out).toMatch(/1 {2}decided/);
  });

  it('stops after so many messages, and goes on from its own report', async () => {
    const first = await say(['--channels', module, '--max-messages', '1', '--json']);
    expect(first.code).toBe(5);
    const second = await say(['--channels', module, '--earlier', '-', '--json'], first.out);
    expect(second.code).toBe(1);
    expect(JSON.parse(second.out)).toMatchObject({
      complete: true,
      counts: { settled: expect.any(Number), lost: 1 },
    });
  });

  it('refuses as a report what was cut down, and where there is nothing to go on to', async () => {
    const { out } = await say(['--channels', module, '--max-messages', '1', '--json']);
    const report = JSON.parse(out) as ReconciliationReport;
    const earlier = (given: object): Promise<Said> =>
      say(['--channels', module, '--earlier', '-'], JSON.stringify(given));
    const part = (name: string): object => ({
      code: 2,
      out: '',
      err: expect.stringContaining(`--earlier -: not a report: its "${name}" is not there`),
    });
    // As it was found: a stack, and a clean verdict on what was never looked at.
    expect(await earlier({ at: 1, counts: {} })).toMatchObject(part('window'));
    expect(await earlier({ at: 1, counts: {}, window: null, repair: {} })).toMatchObject(part('window'));
    const cut = ['at', 'window', 'complete', 'resume', 'checked', 'counts', 'repair'] as const;
    for (const name of cut) {
      expect(await earlier({ ...report, [name]: undefined })).toMatchObject(part(name));
      expect(await earlier({ ...report, [name]: {} })).toMatchObject(part(name));
    }
    expect(await earlier({ ...report, samples: [null] })).toMatchObject(part('samples'));
    expect(await earlier([report])).toMatchObject({
      code: 2,
      err: expect.stringContaining('not a report\n'),
    });
    expect(await earlier({ ...report, resume: { ...report.resume, source: 4 } })).toMatchObject({
      code: 2,
      err: expect.stringMatching(/goes on at source 5 of "settled", and the module of --channels has 1/),
    });
    expect(await earlier({ ...report, samples: undefined, blindSpots: undefined })).toMatchObject({
      code: 1,
    });
  });

  it('says of a complete report that there was nothing to look at', async () => {
    const { out } = await say(['--channels', module, '--json']);
    const again = await say(['--channels', module, '--earlier', '-', '--json'], out);
    expect(again).toMatchObject({
      code: 1,
      out,
      err: 'Nothing was looked at: the report of --earlier is complete.\n',
    });
  });

  it('prints what it did when a database breaks after that, and goes on from there', async () => {
    const broken = join(folder, 'broken.mjs');
    const noTable = "async () => { throw new Error('no such table: outbox'); }";
    const second = (page: string, keptSince: string): string =>
      readFileSync(module, 'utf8').replace(
        "recorded: [{ name: 'shop'",
        `recorded: [{ name: 'shop', page: pageOf([item('m-1'), item('m-2')]), recorded: async (ids) => new Set(ids), keptSince: async () => 0 },
          { name: 'billing', page: ${page}, recorded: async () => new Set(), keptSince: ${keptSince} }], was: [{ name: 'shop'`,
      );
    writeFileSync(broken, second(noTable, 'async () => 0'));
    const repair = ['--repair', '--assume-undecided', '--json'];
    const first = await say(['--channels', broken, ...repair]);
    expect(first).toMatchObject({ code: 5, published: ['m-2'] });
    const report = JSON.parse(first.out) as ReconciliationReport;
    expect(report).toMatchObject({
      complete: false,
      repair: { republished: 1 },
      brokenBy:
        'a database of "reconciliation" lacks a table of the outbox or the inbox: no such table: outbox',
    });
    expect(first.err).toContain('It broke there: a database of "reconciliation"');
    const told = await say(['--channels', broken, '--repair', '--assume-undecided']);
    expect(told.out).toContain('1 of 1 published again');
    expect(told.err).toMatch(/before the next --repair[\s\S]*It broke there[\s\S]*go on with --earlier/);
    expect(told.err + told.out).not.toMatch(/nothing was/);
    const whole = join(folder, 'whole.mjs');
    writeFileSync(whole, second('pageOf([])', 'async () => 0'));
    const rest = await say(['--channels', whole, ...repair, '--earlier', '-'], first.out);
    expect(rest).toMatchObject({ code: 1, published: [] });
    expect(JSON.parse(rest.out)).toMatchObject({ complete: true, repair: { republished: 1 } });
    // What is wrong from the beginning is told before anything is published.
    const wrong = join(folder, 'wrong.mjs');
    writeFileSync(wrong, second('pageOf([])', noTable));
    expect(await say(['--channels', wrong, '--repair', '--assume-undecided'])).toMatchObject({
      code: 3,
      out: '',
      published: [],
      err: expect.stringContaining('lacks a table'),
    });
  });

  it('says once what a person has to do, and of how many', async () => {
    const unrecorded = join(folder, 'unrecorded.mjs');
    const text = readFileSync(module, 'utf8').replace("[item('m-1'), item('m-2')]", '[]');
    writeFileSync(
      unrecorded,
      text
        .replace("{ id: 'm-1', settledAt: 2 }", "{ id: 'm-1', settledAt: 2 }, { id: 'm-9', settledAt: 2 }")
        .replace('recorded: async (ids) => new Set(ids)', 'recorded: async () => new Set()'),
    );
    const { out } = await say(['--channels', unrecorded]);
    expect(out.match(/for a person/g)).toHaveLength(1);
    expect(out).toMatch(/for a person, 2 of them: /);
    expect(out.match(/m-9/g)).toHaveLength(1);
  });

  it('says once why something could not be judged, below what it is', async () => {
    const purged = join(folder, 'purged.mjs');
    const text = readFileSync(module, 'utf8')
      .replace("[item('m-1'), item('m-2')]", '[]')
      .replace("{ id: 'm-1', settledAt: 2 }", "{ id: 'm-1', settledAt: 2 }, { id: 'm-9', settledAt: 2 }")
      .replace(
        'async (ids) => new Set(ids), keptSince: async () => 0',
        'async () => new Set(), keptSince: async () => 3',
      );
    writeFileSync(purged, text);
    const { out } = await say(['--channels', purged]);
    expect(out).toMatch(
      / {2}unverifiable: \S+ m-1\n {2}unverifiable: \S+ m-9\n {4}why, of these 2: an outbox may have purged it\n/,
    );
    expect(out.match(/why, of these/g)).toHaveLength(1);
  });

  it('says that --channels is missing, and connects to nothing', async () => {
    const told = await inProcess(['reconcile', '--url', 'redis://127.0.0.1:1']);
    expect(told).toMatchObject({ code: 2, out: '', err: expect.stringContaining('--channels is missing') });
  });

  it.each([
    ['no table of ours', `sqlite:${join(folder, 'empty.db')}`, /lacks a table[\s\S]*prepare\(\)/],
    ['no database', `sqlite:${main}`, /cannot be opened[\s\S]*Mend its address/],
    ['no file', `sqlite:${join(folder, 'typo.db')}`, /typo\.db: there is no such file/],
  ])('fails with words where a database has %s', async (_name, address, text) => {
    new DatabaseSync(join(folder, 'empty.db')).close();
    const path = join(folder, `${_name.replaceAll(' ', '-')}.mjs`);
    writeFileSync(
      path,
      `import { defineChannel } from '${index}';
import { openSqlStore } from '${new URL('../stores/open.ts', import.meta.url).href}';
export const placed = defineChannel({ name: 'order.placed', version: 1, schema: {} });
export const reconciliation = async () => {
  const shop = await openSqlStore('${address}', { mustExist: true });
  return { recorded: [shop.recorded('shop')], settled: [], close: () => shop.close() };
};\n`,
    );
    const told = await say(['--channels', path, '--json']);
    const failure = JSON.parse(told.out) as { error: string; remedy: string; exitCode: number };
    expect(`${failure.error}\n${failure.remedy}`).toMatch(text);
    expect([2, 3]).toContain(failure.exitCode);
    expect(existsSync(join(folder, 'typo.db'))).toBe(false);
  });

  const postgres = process.env['DATABASE_URL'] ?? '';
  it.skipIf(postgres === '').each([
    ['an address without our tables', '?options=-csearch_path%3Dnowhere', /lacks a table/],
    ['a database that is not there', 'nowhere', /cannot be opened/],
  ])('on PostgreSQL: %s (needs DATABASE_URL)', async (name, change, text) => {
    const address = new URL(postgres);
    if (change === 'nowhere') address.pathname = '/nowhere';
    else address.search = change;
    const path = join(folder, `${name.replaceAll(' ', '-')}.mjs`);
    writeFileSync(
      path,
      `import { defineChannel } from '${index}';
import { openSqlStore } from '${new URL('../stores/open.ts', import.meta.url).href}';
export const placed = defineChannel({ name: 'order.placed', version: 1, schema: {} });
export const reconciliation = async () => {
  const shop = await openSqlStore('${address.href}');
  return { recorded: [shop.recorded('shop')], settled: [], close: () => shop.close() };
};\n`,
    );
    const told = await say(['--channels', path, '--json']);
    expect(told.code).toBe(3);
    expect(told.out).toMatch(text);
  });

  it('says what the module has to export, and refuses a report that is none', async () => {
    expect(await say(['--channels', withoutSources])).toMatchObject({
      code: 2,
      err: expect.stringContaining('exports no "reconciliation"'),
    });
    expect(await say(['--channels', module, '--earlier', '-'], '{}')).toMatchObject({
      code: 2,
      err: expect.stringContaining('not a report'),
    });
  });
});
