/**
 * CloudEvents of publishers that are not ours. Their headers may have names that the toolkit refuses to give (CloudEvents only advises to keep them short, and
 * some writers use `_`); what was taken has to go every way that a message goes, with all it had.
 */
import assert from 'node:assert/strict';
import type { Message } from '../message.ts';
import { ack, deadLetter, type Outcome, retry } from '../outcome.ts';
import type { DeadLetterRecord } from '../engine.ts';
import type { Bus } from '../bus.ts';
import { plain } from './channels.ts';
import { Collector, eventually, settleIn, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const headers = { regionoftheoldwarehouse: 'eu-west', tenant_id: 'acme' };
const event = { specversion: '1.0', id: 'foreign', type: plain.name, source: '/stranger', ...headers };

interface Seen {
  readonly message: Message<{ n: number }>;
  readonly attempt: number;
}

export const strangerCases: readonly ConformanceCase[] = [
  {
    name: 'a foreign CloudEvent with a long header name and one with "_" goes every way with nothing lost',
    unless: (_, { injectRaw }) =>
      injectRaw ? undefined : 'the fixture cannot store a payload that no publisher of the toolkit made',
    async run(fixture) {
      await withBus({
        fixture,
        channels: [plain],
        use: (bus) => settleIn(bus.subscribe(plain, { name: 'one', handler: () => ack() })),
      });
      await fixture.injectRaw?.(plain.name, JSON.stringify({ ...event, data: { n: 1 } }));
      await withBus({ fixture, channels: [plain], use: everyWay });
    },
  },
];

/** Peeked at, tried twice, parked, redriven, parked again, edited, handled. */
async function everyWay(bus: Bus): Promise<void> {
  const [waiting] = await bus.peek(plain, 'one');
  assert.deepEqual(waiting?.message?.headers, headers, 'peek shows the headers');
  assertWhole(waiting.raw, 'peek');
  const got = new Collector<Seen>();
  const outcomes: Outcome[] = [retry(), deadLetter('not yet'), deadLetter('still not'), ack()];
  bus.subscribe(plain, {
    name: 'one',
    retries: { immediate: 0, delayed: [10] },
    handler: (message, { attempt }) => {
      got.add({ message, attempt });
      return outcomes.shift() ?? ack();
    },
  });
  assertWhole((await letterFor(bus, 'not yet')).raw, 'the dead letter');
  assert.deepEqual(await bus.deadLetters.redrive({}), { moved: 1, remaining: 0 });
  const letter = await letterFor(bus, 'still not');
  assertWhole(letter.raw, 'the dead letter after a redrive');
  assert.ok(await bus.deadLetters.redriveEdited(letter, { n: 2 }), 'the edited one takes its place');
  await got.waitFor(4);
  assert.deepEqual(await bus.deadLetters.list(), []);
  const same = { id: event.id, data: { n: 1 }, headers };
  const shown = got.values.map(({ message, attempt }) => [
    { id: message.id, data: message.data, headers: message.headers },
    attempt,
  ]);
  const { message: edited } = got.values[3] as Seen;
  assert.deepEqual(shown, [
    [same, 1],
    [same, 2],
    [same, 1],
    [{ id: edited.id, data: { n: 2 }, headers: { ...headers, redriveof: letter.id } }, 1],
  ]);
}

async function letterFor(bus: Bus, reason: string): Promise<DeadLetterRecord> {
  const [letter] = await eventually(
    () => bus.deadLetters.list(),
    (found) => found[0]?.reason === reason,
    `the dead letter "${reason}"`,
  );
  return letter as DeadLetterRecord;
}

function assertWhole(raw: string, where: string): void {
  const { id, source, data, regionoftheoldwarehouse, tenant_id } = JSON.parse(raw) as Record<string, unknown>;
  assert.deepEqual(
    { id, source, data, regionoftheoldwarehouse, tenant_id },
    { id: event.id, source: event.source, data: { n: 1 }, ...headers },
    `${where} has everything`,
  );
}
