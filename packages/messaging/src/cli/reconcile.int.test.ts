/** `reconcile` on sources of a module: what is lost is found, published again only when asked, and gone on with from a report. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../clock.ts';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import type { OutgoingMessage } from '../engine.ts';
import type { ReconciliationReport } from '../reconciliation-report.ts';
import { run } from './run.ts';

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

async function say(
  args: readonly string[],
  stdin = '',
): Promise<{ code: number; out: string; err: string; published: string[] }> {
  let out = '';
  let err = '';
  const published: string[] = [];
  const code = await run(['reconcile', ...args], {
    env: { DOORBUSTER_BUS_URL: 'sqlite:./bus.db', NO_COLOR: '1' },
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    stdin: { isTTY: false, read: async () => stdin },
    clock: systemClock,
    signal: new AbortController().signal,
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
            const value = Reflect.get(target, name) as unknown;
            return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
          },
        });
      },
    }),
    version: '0.0.0',
  });
  return { code, out, err, published };
}

describe('reconcile', () => {
  it('finds what is lost and publishes nothing', async () => {
    const found = await say(['--channels', module]);
    expect(found).toMatchObject({ code: 1, published: [] });
    expect(found.out).toMatch(/1 {2}lost/);
    expect(found.out).toContain('lost: order.placed m-2');
    expect(found.out).toContain('1 could be published again; nothing was');
  });

  it('publishes it again, with its id, when asked to', async () => {
    const repaired = await say(['--channels', module, '--repair', '--json']);
    expect(repaired.published).toEqual(['m-2']);
    expect((JSON.parse(repaired.out) as ReconciliationReport).repair).toMatchObject({
      mode: 'republish',
      republished: 1,
    });
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
