/** A repair whose module breaks where nobody awaits it, in a process of its own: what was published again is told, whatever the module is still waited for. */
import { writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { ReconciliationReport } from '../reconciliation-report.ts';
import { jsonOf, module, type Said, useShopFile } from './testing/fixture.ts';

const shop = useShopFile();
const ADDRESS = 'postgres://shop:topsecret@127.0.0.1:1/shop';

/** `m-1` is lost, and published again at the first source; at the second the pool of the module does `breaks`. */
async function repair(
  breaks: string,
  more: { readonly closing?: string; readonly args?: string[] } = {},
): Promise<Said> {
  const { closing = '', args = ['--json'] } = more;
  await shop.withLetters(0);
  const path = shop.path('channels.mjs');
  writeFileSync(
    path,
    `import { EventEmitter } from 'node:events';
export { orderPlaced } from '${new URL(`file://${module}`).href}';
const pool = new EventEmitter();
const message = { id: 'm-1', type: 'order.placed', version: 1, source: '/s', time: '2020-01-01T00:00:00Z', data: { orderId: 'A-1', total: 1 }, headers: {} };
const item = { id: 'm-1', channel: 'order.placed', key: undefined, recordedAt: 1, publishedAt: 1, state: 'published', outgoing: { channel: 'order.placed', message } };
const pageOf = (items) => async () => ({ items, next: undefined });
const emit = (why) => setImmediate(() => pool.emit('error', new Error(why + ' ${ADDRESS}')));
const never = () => new Promise(() => {});
const base = { recorded: async () => new Set(), keptSince: async () => 0 };
const inbox = (subscription) => ({ subscription, channels: ['order.placed'], page: pageOf([]), settled: async () => new Set(), keptSince: async () => 0 });
export const reconciliation = {
  recorded: [
    { ...base, name: 'shop', page: pageOf([item]) },
    { ...base, name: 'billing', page: async () => { ${breaks} } },
  ],
  settled: [inbox('mailer'), inbox('report')],
  close: async () => { ${closing} },
};\n`,
  );
  const said = await shop.onFile('reconcile', '--channels', path, '--repair', '--assume-undecided', ...args);
  expect(said.out + said.err).not.toContain('topsecret');
  return said;
}

/** Keeps the process alive, as the sockets of a pool do. */
const ALIVE = 'setInterval(() => {}, 1_000);';

it('the report so far is printed once, with what broke, and can be gone on from', async () => {
  // Each idle client of a pool says that its server is gone; and closing the pool waits for ever.
  const said = await repair(`${ALIVE} emit('idle'); emit('another'); return never();`, {
    closing: 'return never();',
  });
  expect(said.code).toBe(5);
  expect(jsonOf<ReconciliationReport>(said)).toMatchObject({
    complete: false,
    resume: { phase: 'recorded', source: 1 },
    repair: { mode: 'republish', republished: 1 },
    brokenBy: 'unexpected: Error: idle postgres://127.0.0.1:1/shop',
  });
  expect(said.err).toMatch(/It broke there: unexpected: Error: idle[\s\S]*\n +at .*channels\.mjs:/);
});

it('so it is for a person', async () => {
  const said = await repair(`${ALIVE} emit('idle'); return never();`, { args: [] });
  expect(said).toMatchObject({ code: 5, out: expect.stringContaining('1 of 1 published again') });
  expect(said.err).toMatch(/It broke there: unexpected: Error: idle/);
  expect(said.err).toContain('go on with --earlier');
});

it('what breaks when the report is printed is told beside it, and the report stays whole', async () => {
  const said = await repair('return pageOf([])();', { closing: `${ALIVE} emit('closing'); return never();` });
  expect(said.code).toBe(1);
  expect(jsonOf<ReconciliationReport>(said)).toMatchObject({ complete: true, repair: { republished: 1 } });
  expect(said.err).toMatch(/^doorbuster-bus: unexpected: Error: closing postgres:\/\/127/);
});
