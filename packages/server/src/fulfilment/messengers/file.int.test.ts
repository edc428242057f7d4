import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { expect, it } from 'vitest';
import { linesOfFile } from '../testing/child.ts';
import { createFileMessenger } from './file.ts';

const clock = createManualClock(1_750_000_000_000);
const message = (number: number) => ({
  messageId: `a.${number}.1@doorbuster`,
  deliveryId: `a.${number}.1`,
  campaignId: 'a',
  contact: {},
  subject: 's',
  text: 't',
  voucher: { code: `C-${number}` },
  locale: 'ko' as const,
  signal: new AbortController().signal,
});

it('has each message in the file when it says sent', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'messages-'));
  const path = join(folder, 'deep', 'messages.ndjson');
  const messenger = createFileMessenger({ name: 'file', path, clock });
  expect(await messenger.check()).toEqual([]);
  await messenger.send(message(0));
  expect(linesOfFile(path)).toHaveLength(1);
  const results = await Promise.all(
    Array.from({ length: 500 }, (_, number) => messenger.send(message(number + 1))),
  );
  expect(results.every(({ result }) => result === 'sent')).toBe(true);
  expect(linesOfFile<{ voucher: { code: string } }>(path).map(({ voucher }) => voucher.code)).toEqual(
    Array.from({ length: 501 }, (_, number) => `C-${number}`),
  );
  await messenger.close();
  rmSync(folder, { recursive: true });
});

it('refuses while the file cannot be opened, and goes on when it can', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'messages-'));
  const messenger = createFileMessenger({ name: 'file', path: folder, clock });
  expect(await messenger.send(message(1))).toMatchObject({ result: 'refused', permanent: false });
  expect(await messenger.check()).toHaveLength(1);
  await messenger.close();
  rmSync(folder, { recursive: true });
});
