// The gateway's page as a file: complete in itself, sent with the policy that its one script needs, small enough for a gateway to keep.
import { createHash } from 'node:crypto';
import { expect, it, vi } from 'vitest';
import { createProgram } from './program.ts';

/** HAProxy reads an errorfile into one buffer (tune.bufsize). */
const haproxyBuffer = 16_384;

async function print(...args: string[]): Promise<string> {
  const stdout = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    await createProgram({}).parseAsync(['node', 'doorbuster', 'page', 'fallback', ...args]);
    return stdout.mock.calls.map(([text]) => String(text)).join('');
  } finally {
    stdout.mockRestore();
  }
}

it('is one page that needs nothing else, in each language', async () => {
  const [ko, en] = [await print(), await print('--lang', 'en', '--retry-after', '40')];
  expect(ko).toMatch(/^<!doctype html><html lang="ko">/);
  expect(ko.trimEnd().endsWith('</html>')).toBe(true);
  expect(ko).toContain('<meta name="retry-after" content="15">');
  expect(en).toContain('Entries already received are safely stored.');
  expect(en).toContain('<noscript><meta http-equiv="refresh" content="40"></noscript>');
  // Nothing is fetched: while no server answers, nothing could be.
  for (const page of [ko, en]) expect(/\ssrc=|<link rel="stylesheet"|url\(/.exec(page)?.[0]).toBeUndefined();
});

it('is a whole HTTP answer on demand', async () => {
  const answer = await print('--http', '--lang', 'en');
  const [head = '', html = ''] = answer.split('\r\n\r\n');
  expect(head).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n/);
  expect(head).toContain('\r\nretry-after: 15');
  expect(head).toContain(`\r\ncontent-length: ${Buffer.byteLength(html)}\r\n`);
  const script = /<script>(.*?)<\/script>/s.exec(html)?.[1] ?? '';
  expect(script.length).toBeGreaterThan(20);
  expect(head).toContain(`'sha256-${createHash('sha256').update(script).digest('base64')}'`);
  expect(Buffer.byteLength(answer)).toBeLessThan(haproxyBuffer);
});

it('tells page, status and headers apart as JSON', async () => {
  const told = JSON.parse(await print('--json')) as { status: number; headers: object; html: string };
  expect(told).toMatchObject({ status: 503, headers: { 'retry-after': '15' } });
  expect(told.html).toMatch(/^<!doctype html>/);
});

it('refuses a language that it has not, and a wait of nothing', async () => {
  const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  await expect(print('--lang', 'fr')).rejects.toMatchObject({ code: 'commander.invalidArgument' });
  await expect(print('--retry-after', '0')).rejects.toMatchObject({ code: 'commander.invalidArgument' });
  stderr.mockRestore();
});
