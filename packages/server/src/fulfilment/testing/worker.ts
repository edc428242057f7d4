/**
 * A fulfilment worker in a process of its own, for tests: it opens the ledger's file, delivers what is due and exits when nothing is left. At
 * one named point, the first time it comes there, it kills itself with SIGKILL or stops itself with SIGSTOP. The points are wrapped around
 * the ports, so the code that runs is the code that ships.
 *
 *   worker.ts --ledger <file> --messages <file> [--provider <url> --class idempotent|queryable] [--signal SIGKILL --at issue:after]
 *
 * A point is `<call>:before` or `<call>:after` of claim, voucher-requested, issue, voucher-issued, message-sending, send, settle.
 */
import { parseArgs } from 'node:util';
import { pause, systemClock } from '@doorbuster/messaging';
import type { DeliveryLedger } from '../../ledger.ts';
import type { Messenger } from '../messenger.ts';
import { createFileMessenger } from '../messengers/file.ts';
import type { VoucherSource } from '../voucher-source.ts';
import { createHttpIdempotentSource } from '../voucher-sources/http-idempotent.ts';
import { createHttpQueryableSource } from '../voucher-sources/http-queryable.ts';
import { createPoolSource } from '../voucher-sources/pool.ts';
import { openLedger, staff } from './stage.ts';

const { values } = parseArgs({
  options: {
    ledger: { type: 'string' },
    messages: { type: 'string' },
    provider: { type: 'string' },
    class: { type: 'string', default: 'idempotent' },
    signal: { type: 'string', default: 'SIGKILL' },
    at: { type: 'string', default: '' },
    'lease-ms': { type: 'string', default: '300' },
  },
});

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
let armed = values.at !== '';

function point(name: string): void {
  if (!armed || name !== values.at) return;
  armed = false;
  process.kill(process.pid, values.signal);
}

async function around<T>(name: string, call: () => Promise<T>): Promise<T> {
  point(`${name}:before`);
  const result = await call();
  point(`${name}:after`);
  return result;
}

const ledger = openLedger(values.ledger!);
const deliveries: DeliveryLedger = {
  ...ledger.deliveries,
  claim: (...args) => around('claim', () => ledger.deliveries.claim(...args)),
  progress: (id, fence, step) => around(step.step, () => ledger.deliveries.progress(id, fence, step)),
  settle: (...args) => around('settle', () => ledger.deliveries.settle(...args)),
};

function remote(): VoucherSource {
  const options = { name: 'acme', url: values.provider!, secret: 'simulator-secret', longestFlightMs: 150 };
  return values.class === 'queryable'
    ? createHttpQueryableSource(options)
    : createHttpIdempotentSource(options);
}
const inner = values.provider ? remote() : createPoolSource(ledger);
const source: VoucherSource = { ...inner, issue: (request) => around('issue', () => inner.issue(request)) };
const file = createFileMessenger({ name: 'carrier', path: values.messages!, clock: systemClock });
const messenger: Messenger = { ...file, send: (message) => around('send', () => file.send(message)) };

const { fulfilment, events } = staff({
  ledger: { deliveries },
  sources: [{ source }],
  messengers: [{ messenger }],
  limits: {
    leaseMs: Number(values['lease-ms']),
    sweepMs: 50,
    concurrency: 4,
    backoff: { firstMs: 10, maxMs: 50 },
  },
});
fulfilment.start();
say({ started: process.pid });
// A worker that outlives its parent would keep the file.
process.stdin.on('end', () => process.exit(0)).resume();

for (;;) {
  await pause(systemClock, 20);
  const { byState } = await ledger.deliveries.summary('spring');
  if (byState.due + byState.sending + byState.unknown > 0) continue;
  await fulfilment.stop(1_000);
  await ledger.close();
  say({ byState, lost: events.filter(({ event }) => event === 'lost').length });
  process.exit(0);
}
