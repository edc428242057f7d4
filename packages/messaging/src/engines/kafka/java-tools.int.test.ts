/** Kafka's own console tools as the foreign side: what Java's producer writes is read here, and what is written here is a CloudEvent to Java's consumer. */
import { spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import { Collector, numbers, settleIn } from '../../conformance/fixture.ts';
import type { Message } from '../../message.ts';
import { ack } from '../../outcome.ts';
import { clientOf, createKafkaFixture, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { partitionOf } from './names.ts';
import { hasKafkaProgram, jarsFolder } from './own-cluster.ts';

const PARTITIONS = 5;
const WAIT_MS = 30_000;

const whyNot =
  kafkaUrl === undefined
    ? 'needs KAFKA_URL'
    : hasKafkaProgram()
      ? undefined
      : 'needs java and the jars that services:up brings';

/** What the tool printed; rejects with what it complained of. */
function java(tool: string, args: readonly string[], input = ''): Promise<string> {
  const [server = ''] = clientOf(kafkaUrl ?? '').bootstrapBrokers;
  const place = ['-Xmx128m', '-cp', `${jarsFolder()}/*`, `org.apache.kafka.tools.${tool}`];
  const child = spawn('java', [...place, '--bootstrap-server', server, ...args], { stdio: 'pipe' });
  let printed = '';
  let complaint = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve(printed) : reject(new Error(`${tool} ended with ${code}: ${complaint}`)),
    );
  });
}

const properties = (values: Readonly<Record<string, string>>): string[] =>
  Object.entries(values).flatMap(([name, value]) => ['--property', `${name}=${value}`]);

describe.skipIf(whyNot !== undefined)(
  `Kafka's console tools${whyNot === undefined ? '' : ` (${whyNot})`}`,
  { timeout: 120_000 },
  () => {
    let fixture: KafkaFixture;
    let bus: Bus;
    let topic: string;
    beforeEach(async () => {
      fixture = await createKafkaFixture();
      topic = `${fixture.prefix}${plain.name}`;
      bus = createBus({
        engine: fixture.engine({ partitions: PARTITIONS, trimEveryMs: 0 }),
        source: '/ours',
      });
      bus.declare([plain]);
      await bus.start();
    });
    afterEach(async () => {
      await bus.stop({ drainMs: 500 });
      await fixture.destroy();
    });

    it('what the console producer writes is read: binary and structured CloudEvents, from the partition that our key has too', async () => {
      await settleIn(bus.subscribe(plain, { name: 'waiting', handler: () => ack() }));
      const got = new Collector<Message>();
      bus.subscribe(plain, {
        name: 'one',
        handler: (message) => {
          got.add(message);
          return ack();
        },
      });
      const headersOf = (n: number): string =>
        `ce_specversion:1.0,ce_id:java-${n},ce_type:order,ce_source:/java,ce_region:eu,content-type:application/json`;
      const lines = numbers(1, 20).map((n) => `${headersOf(n)}\tkey-${n}\t{"n":${n}}`);
      const structured = { specversion: '1.0', id: 'java-0', type: 'order', source: '/java', data: { n: 0 } };
      lines.push(`made-by:hand\tkey-0\t${JSON.stringify(structured)}`);
      const parsing = properties({ 'parse.headers': 'true', 'parse.key': 'true' });
      await java('ConsoleProducer', ['--topic', topic, ...parsing], `${lines.join('\n')}\n`);

      await got.waitFor(21);
      const byId = new Map(got.values.map((message) => [message.id, message]));
      for (const n of numbers(1, 20))
        expect(byId.get(`java-${n}`)).toMatchObject({
          key: `key-${n}`,
          source: '/java',
          headers: { region: 'eu' },
          data: { n },
        });
      expect(byId.get('java-0')).toMatchObject({ source: '/java', data: { n: 0 } });
      expect(await bus.deadLetters.list()).toEqual([]);
      const placed = (await bus.peek(plain, 'waiting', 100)).map(({ offset, message }) => [
        message?.id,
        Number(offset?.split('/')[0]),
      ]);
      const expected = numbers(0, 20).map((n) => [`java-${n}`, partitionOf(`key-${n}`, PARTITIONS)]);
      expect(placed.toSorted(byName)).toEqual(expected.toSorted(byName));
    });

    it('what we write is a CloudEvent in binary mode to the console consumer', async () => {
      const { id } = await bus.publish(plain, { n: 7 }, { key: 'äöü', headers: { tenant: 'x' } });
      const showing = properties({ 'print.headers': 'true', 'print.key': 'true', 'print.partition': 'true' });
      const reading = ['--from-beginning', '--max-messages', '1', '--timeout-ms', String(WAIT_MS)];
      const group = ['--group', `${fixture.prefix}java`];
      const printed = await java('consumer.ConsoleConsumer', [
        '--topic',
        topic,
        ...group,
        ...reading,
        ...showing,
      ]);
      const [partition, headers = '', key, value = ''] = printed.trim().split('\t');
      expect(partition).toBe(`Partition:${partitionOf('äöü', PARTITIONS)}`);
      expect(key).toBe('äöü');
      expect(JSON.parse(value)).toEqual({ n: 7 });
      const named = Object.fromEntries(
        headers.split(',').map((one) => [one.slice(0, one.indexOf(':')), one.slice(one.indexOf(':') + 1)]),
      );
      expect(named).toMatchObject({
        ce_specversion: '1.0',
        ce_id: id,
        ce_type: plain.name,
        ce_source: '/ours',
        ce_tenant: 'x',
        ce_partitionkey: 'äöü',
        'content-type': 'application/json',
      });
      expect(named['ce_time']).toMatch(/^\d{4}-\d{2}-\d{2}T/);
    });
  },
);

function byName([a]: readonly unknown[], [b]: readonly unknown[]): number {
  return String(a).localeCompare(String(b));
}
