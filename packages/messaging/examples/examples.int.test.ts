/** Every example runs in a process of its own and prints what the guides say it prints. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import manifest from '../package.json' with { type: 'json' };
import { cleanKafka, cleanRabbit, cleanRedis } from '../src/testing/example-leftovers.ts';

async function output(name: string, env: Record<string, string> = {}): Promise<string[]> {
  const path = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  const child = spawn(process.execPath, [path], { env: { ...process.env, BUS_URL: undefined, ...env } });
  let out = '';
  let err = '';
  child.stdout.on('data', (part: Buffer) => {
    out += part.toString();
  });
  child.stderr.on('data', (part: Buffer) => {
    err += part.toString();
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  expect({ code, err }).toEqual({ code: 0, err: '' });
  return out.trimEnd().split('\n');
}

const migrated = ['booked ada:5', 'resized a.png', 'the sum is 6; log.written is routed by topic'];

describe('each example prints', () => {
  it('retries: the attempts, the groups, the redrive', async () => {
    expect(await output('retries')).toEqual([
      'attempt 1: the server is busy',
      'attempt 2: the server is busy',
      'attempt 3: the server is busy',
      '1 x deadLetter: no such address',
      '1 x retry: the mail server is busy',
      'attempt 1 after a redrive: the server is fine',
      '1 redriven, sent to ada@example.org',
    ]);
  });

  it('order-per-key: what was booked, what was parked, the sequence', async () => {
    expect(await output('order-per-key')).toEqual([
      'booked: ada:1 bob:7',
      'parked: ada ada',
      'ada: ada:1 ada:0 ada:2',
    ]);
  });

  it('request-reply: the time-out, the answer', async () => {
    expect(await output('request-reply')).toEqual([
      'without an answer: DB_MSG_REQUEST_TIMEOUT',
      'a pen costs 120',
    ]);
  });

  it('long-handlers: one attempt', async () => {
    expect(await output('long-handlers')).toEqual(['10 pages in attempt 1']);
  });

  it('resilience: no dead letter', async () => {
    expect(await output('resilience')).toEqual(['the breaker is open', '3 sent, 0 dead letters']);
  });

  it('contracts: the upcast and the Avro message, the refusal, the document', async () => {
    expect(await output('contracts')).toEqual([
      '2 boxes of A-1',
      'A-1 in EUR',
      'DB_MSG_INVALID_DATA: channel "order.packed": data/boxes must be >= 1',
      'AsyncAPI 3.1.0: send.order.packed, receive.order.placed.mailer',
    ]);
  });

  it('migrating: a job, a stream, a call', async () => {
    expect(await output('migrating')).toEqual(migrated);
  });

  it('publishing: what came late, what went first, what came again', async () => {
    expect(await output('publishing')).toEqual([
      'reminders: wait here, then the doors are open; 1 expired',
      '3 stored, the last as ticket-3',
      'tickets: nobody can pay, slow search, a typing error',
      'prices: pen 120 from seoul, again pen 120 from seoul',
    ]);
  });

  it('routing: what each binding takes', async () => {
    expect(await output('routing')).toEqual([
      'alarm: nearly full',
      'alarm: no answer',
      'north-express: P-1',
      'resizer: a.png',
    ]);
  });

  it('tracing: one trace over two hops', async () => {
    expect(await output('tracing')).toEqual([
      'conversation visit-7, caused by the order: true',
      'POST /orders',
      '  send order.placed',
      '    process order.placed',
      '      ack order.placed',
      '      send mail.wanted',
      '        process mail.wanted',
      '          ack mail.wanted',
    ]);
  });
});

const prefix = `eg${process.pid}.`;
const prefixed = (url: string): string => `${url}${url.includes('?') ? '&' : '?'}prefix=${prefix}`;
const servers = [
  { name: 'Redis', engine: 'redis', variable: 'REDIS_URL', clean: cleanRedis },
  { name: 'RabbitMQ', engine: 'rabbitmq', variable: 'RABBITMQ_URL', clean: cleanRabbit },
  { name: 'Kafka', engine: 'kafka', variable: 'KAFKA_URL', clean: cleanKafka },
];

describe('the same handler, by one URL', () => {
  const handled = ['attempt 1: order A-1', 'attempt 2: order A-1'];

  it('on a file', async () => {
    expect((await output('one-url')).toSorted()).toEqual([...handled, 'stored: disk']);
  });

  for (const { name, engine, variable, clean } of servers) {
    const url = process.env[variable] ?? '';
    const isThere = url !== '' && `./engines/${engine}` in manifest.exports;
    it.skipIf(!isThere)(`on ${name} (needs ${variable})`, async () => {
      onTestFinished(() => clean(url, prefix));
      const lines = await output('one-url', { BUS_URL: prefixed(url) });
      expect(lines.filter((line) => line.startsWith('attempt'))).toEqual(handled);
      expect(lines.find((line) => line.startsWith('stored'))).toMatch(/disk|memory|replicated/);
    });

    it.skipIf(!isThere)(`what the migration guide shows, on ${name} (needs ${variable})`, async () => {
      onTestFinished(() => clean(url, prefix));
      expect(await output('migrating', { BUS_URL: prefixed(url) })).toEqual(migrated);
    });
  }
});
