/**
 * An SMTP server that delivers nothing: it keeps every mail as one line of JSON and can be told to misbehave. For development, the demo
 * and tests. It listens on loopback only.
 *
 *   node --conditions=doorbuster-source examples/smtp-sink/main.ts --file mails.ndjson
 *
 * First line on stdout: {"port": 52525}. Each stored line: {"messageId", "to", "subject", "text", "at"}. A mail is written before it is
 * acknowledged. Faults are shares from 0 to 1, drawn per mail from a seeded generator. With `--stdin-control` a line of
 * JSON on stdin with some of them (`{"refuseShare": 0.5}`) changes them while it runs and is answered with one line on stdout, and the end of
 * stdin ends the process. Recipients whose address begins with `bounce` are always refused for good (550).
 */
import { openSync, writeSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import PostalMime from 'postal-mime';
import { SMTPServer } from 'smtp-server';

const { values } = parseArgs({
  options: {
    file: { type: 'string' },
    port: { type: 'string', default: '0' },
    'refuse-share': { type: 'string', default: '0' },
    'refuse-code': { type: 'string', default: '451' },
    'silent-share': { type: 'string', default: '0' },
    'lose-share': { type: 'string', default: '0' },
    'delay-ms': { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    'stdin-control': { type: 'boolean', default: false },
  },
});

/** What it does to mails; the rest is accepted. */
const faults = {
  /** Answered with `refuseCode` after DATA; not kept. */
  refuseShare: Number(values['refuse-share']),
  refuseCode: Number(values['refuse-code']),
  /** Kept, never answered: the sender cannot know. */
  silentShare: Number(values['silent-share']),
  /** Neither kept nor answered. */
  loseShare: Number(values['lose-share']),
  /** Waits before the answer, ms. */
  delayMs: Number(values['delay-ms']),
};

const output = values.file === undefined ? null : openSync(values.file, 'a');
const random = seeded(Number(values.seed));

/** mulberry32 */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function fateOf(draw: number): 'refuse' | 'silent' | 'lose' | 'accept' {
  if (draw < faults.refuseShare) return 'refuse';
  if (draw < faults.refuseShare + faults.silentShare) return 'silent';
  if (draw < faults.refuseShare + faults.silentShare + faults.loseShare) return 'lose';
  return 'accept';
}

async function keep(raw: Buffer): Promise<void> {
  const mail = await PostalMime.parse(raw);
  const record = {
    messageId: mail.messageId?.replace(/^<|>$/g, ''),
    to: mail.to?.map(({ address }) => address).join(', '),
    subject: mail.subject,
    text: mail.text,
    at: new Date().toISOString(),
  };
  if (output !== null) writeSync(output, `${JSON.stringify(record)}\n`);
}

async function receive(raw: Buffer, answer: (error?: Error | null, message?: string) => void): Promise<void> {
  const fate = fateOf(random());
  if (fate === 'refuse')
    return answer(Object.assign(new Error('refused by the sink'), { responseCode: faults.refuseCode }));
  if (fate !== 'lose') await keep(raw);
  if (fate !== 'accept') return;
  if (faults.delayMs > 0) setTimeout(() => answer(null, 'kept'), faults.delayMs);
  else answer(null, 'kept');
}

const server = new SMTPServer({
  authOptional: true,
  disabledCommands: ['AUTH', 'STARTTLS'],
  disableReverseLookup: true,
  logger: false,
  onRcptTo({ address }, _session, answer) {
    if (address.startsWith('bounce'))
      return answer(Object.assign(new Error('no such mailbox'), { responseCode: 550 }));
    answer();
  },
  onData(stream, _session, answer) {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      receive(Buffer.concat(chunks), answer).catch((error: unknown) => answer(error as Error));
    });
  },
});
// A client that goes away in the middle is what some tests are about.
server.on('error', (error) => process.stderr.write(`${error.message}\n`));
server.listen(Number(values.port), '127.0.0.1', () => {
  const { port } = server.server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ port })}\n`);
});

if (values['stdin-control']) {
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      Object.assign(faults, JSON.parse(line));
      process.stdout.write(`${JSON.stringify(faults)}\n`);
    })
    // Whoever started it is gone.
    .on('close', () => process.exit(0));
}
