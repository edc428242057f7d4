// The SMTP messenger against a real SMTP server in a process of its own: what arrives, and what is known when it does not.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OutgoingMessage } from '../messenger.ts';
import { startSmtpSink } from '../testing/child.ts';
import { createSmtpMessenger } from './smtp.ts';

const folder = mkdtempSync(join(tmpdir(), 'smtp-'));
let sink: Awaited<ReturnType<typeof startSmtpSink>>;
beforeAll(async () => {
  sink = await startSmtpSink(join(folder, 'mails.ndjson'));
});
afterAll(async () => {
  await sink.child.kill();
  rmSync(folder, { recursive: true, force: true });
});

const message = (number: number, signal = new AbortController().signal): OutgoingMessage => ({
  messageId: `spring.${number}.${number}@doorbuster`,
  deliveryId: `spring.${number}.${number}`,
  campaignId: 'spring',
  contact: { email: `m${number}@example.com` },
  subject: `당첨 ${number}`,
  text: `쿠폰 번호: CODE-${number}\n.\n끝`,
  voucher: { code: `CODE-${number}` },
  locale: 'ko',
  signal,
});
async function faults(settings: object) {
  sink.child.write({ refuseShare: 0, silentShare: 0, loseShare: 0, delayMs: 0, ...settings });
  await sink.child.next();
}
const smtp = (url: string, timeoutMs = 5_000) =>
  createSmtpMessenger({ name: 'smtp', url, from: 'Shop <shop@example.com>', timeoutMs });

describe('smtp', () => {
  it('delivers 1,000 mails over few connections, each with its stable id and its own text', async () => {
    await faults({});
    const messenger = smtp(sink.url);
    const results = await Promise.all(
      Array.from({ length: 1_000 }, (_, number) => messenger.send(message(number))),
    );
    await messenger.close();
    expect(results.every(({ result }) => result === 'sent')).toBe(true);
    const mails = sink.mails();
    expect(new Set(mails.map(({ messageId }) => messageId)).size).toBe(1_000);
    const seventh = mails.find(({ to }) => to === 'm7@example.com');
    expect(seventh).toMatchObject({ messageId: 'spring.7.7@doorbuster', subject: '당첨 7' });
    expect(seventh?.text).toContain('CODE-7\n.\n끝');
  });

  it.each([
    [451, false],
    [550, true],
  ])('a server that answers %i refuses; for good: %s', async (refuseCode, permanent) => {
    await faults({ refuseShare: 1, refuseCode });
    const messenger = smtp(sink.url);
    expect(await messenger.send(message(1))).toMatchObject({
      result: 'refused',
      errorCode: `smtp-${refuseCode}`,
      permanent,
    });
    await faults({});
    expect(await messenger.send(message(2_001))).toMatchObject({ result: 'sent' });
    await messenger.close();
  });

  it('silence after the message was read is unknown, and the mail may be there', async () => {
    await faults({ silentShare: 1 });
    const messenger = smtp(sink.url, 400);
    expect(await messenger.send(message(3_001))).toMatchObject({ result: 'unknown' });
    expect(sink.mails().filter(({ to }) => to === 'm3001@example.com')).toHaveLength(1);
    await messenger.close();
  });

  it('an aborted call whose message was read is unknown', async () => {
    await faults({ silentShare: 1 });
    const messenger = smtp(sink.url);
    const abort = new AbortController();
    const sending = messenger.send(message(3_002, abort.signal));
    while (!sink.mails().some(({ to }) => to === 'm3002@example.com'))
      await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    expect(await sending).toMatchObject({ result: 'unknown' });
    await messenger.close();
  });

  it('a server that is not there, or hangs up before it reads, has refused: nothing can have been sent', async () => {
    const messenger = smtp('smtp://127.0.0.1:1', 500);
    expect(await messenger.send(message(1))).toMatchObject({ result: 'refused', permanent: false });
    await messenger.close();
    const rude = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await once(rude, 'listening');
    const other = smtp(`smtp://127.0.0.1:${(rude.address() as AddressInfo).port}`, 500);
    expect(await other.send(message(1))).toMatchObject({ result: 'refused', permanent: false });
    await other.close();
    rude.close();
  });

  it('an address that is none never leaves, and cannot name further recipients', async () => {
    await faults({});
    const messenger = smtp(sink.url);
    const before = sink.mails().length;
    const result = await messenger.send({
      ...message(1),
      contact: { email: 'a@example.com\r\nRCPT TO:<b@example.com>' },
    });
    expect(
      result.result === 'refused' ||
        sink
          .mails()
          .slice(before)
          .every(({ to }) => !to.includes('b@example.com,')),
    ).toBe(true);
    await messenger.close();
  });

  it('check says what is wrong, and can send a test', async () => {
    await faults({});
    expect(await smtp('smtp://127.0.0.1:1', 500).check()).toHaveLength(1);
    const messenger = smtp(sink.url);
    expect(await messenger.check('test@example.com')).toEqual([]);
    expect(sink.mails().at(-1)).toMatchObject({ to: 'test@example.com', subject: 'Doorbuster test' });
    await messenger.close();
  });
});
