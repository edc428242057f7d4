/** What topics that are there already make of a channel's requirements and of its confirmations, as cases: the tests run them as they are, the negative controls with a defect planted. */
import assert from 'node:assert/strict';
import { Admin, ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka';
import Type from 'typebox';
import { type Bus, createBus } from '../../bus.ts';
import { type Channel, type ChannelRequirements, defineChannel, type Durability } from '../../channel.ts';
import { type EngineFixture, eventually } from '../../conformance/fixture.ts';
import type { ConformanceCase } from '../../conformance/suite.ts';
import type { PublishConfirmation } from '../../engine.ts';
import { UnsupportedCapabilityError } from '../../errors.ts';
import { ack } from '../../outcome.ts';
import { clientOf, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import type { KafkaEngineOptions } from './options.ts';

const own = (fixture: EngineFixture): KafkaFixture => fixture as KafkaFixture;
const schema = Type.Object({ n: Type.Integer() });
const NAME = 'kafka.standing';

const requiring = (requires: ChannelRequirements = {}) =>
  defineChannel({ name: NAME, version: 1, schema, requires });
const ranked = (confirm?: Durability) =>
  requiring({ priority: { levels: 3 }, emulation: ['priority'], ...(confirm && { confirm }) });

async function onAdmin<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Admin(clientOf(kafkaUrl ?? ''));
  try {
    return await work(admin);
  } finally {
    await admin.close();
  }
}

/** As an administrator would, whatever the engine makes. The controller answers before every broker tells of it, so it is waited for what the broker tells. */
async function make(
  fixture: EngineFixture,
  ending: string,
  configs: Readonly<Record<string, string>>,
): Promise<void> {
  const topic = `${own(fixture).prefix}${NAME}${ending}`;
  await onAdmin((admin) =>
    admin.createTopics({
      topics: [topic],
      partitions: 1,
      replicas: 1,
      configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
    }),
  );
  await eventually(
    () => topicsIn(fixture),
    (topics) => topics.includes(topic),
    `${topic} is there`,
  );
}

async function set(fixture: EngineFixture, name: 'flush.messages', value: string): Promise<void> {
  const resourceName = `${own(fixture).prefix}${NAME}`;
  const configs = [{ name, configOperation: IncrementalAlterConfigOperationTypes.SET, value }];
  await onAdmin((admin) =>
    admin.incrementalAlterConfigs({
      resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName, configs }],
    }),
  );
  await eventually(
    () => flushesOf(fixture),
    (flushes) => flushes[resourceName] === value,
    `${name} is ${value}`,
  );
}

async function topicsIn(fixture: EngineFixture): Promise<readonly string[]> {
  const all = await onAdmin((admin) => admin.listTopics());
  return all.filter((topic) => topic.startsWith(own(fixture).prefix));
}

/** Each topic of the fixture with its `flush.messages`. */
async function flushesOf(fixture: EngineFixture): Promise<Readonly<Record<string, string>>> {
  const resources = (await topicsIn(fixture)).map((resourceName) => ({
    resourceType: ConfigResourceTypes.TOPIC,
    resourceName,
  }));
  const described = await onAdmin((admin) => admin.describeConfigs({ resources }));
  return Object.fromEntries(
    described.map(({ resourceName, configs }) => [
      resourceName,
      configs.find(({ name }) => name === 'flush.messages')?.value ?? '',
    ]),
  );
}

async function onBus<T>(
  fixture: EngineFixture,
  options: Partial<KafkaEngineOptions>,
  channel: Channel,
  use: (bus: Bus) => Promise<T>,
): Promise<T> {
  const bus = createBus({ engine: own(fixture).engine(options), source: '/standing' });
  bus.declare([channel]);
  await bus.start();
  try {
    return await use(bus);
  } finally {
    await bus.stop({ drainMs: 200 });
  }
}

/** With options that not every one of these channels has. */
interface LooseBus {
  publish(channel: Channel, data: object, options: object): Promise<PublishConfirmation>;
}

/** What a publish on each priority states, of a bus that starts. */
function stated(
  fixture: EngineFixture,
  options: Partial<KafkaEngineOptions>,
  channel: ReturnType<typeof requiring>,
): Promise<readonly Durability[]> {
  const { levels = 1 } = channel.requires.priority ?? {};
  return onBus(fixture, options, channel, async (bus) => {
    const all: Durability[] = [];
    const loose = bus as unknown as LooseBus;
    for (let priority = 0; priority < levels; priority += 1) {
      const given = levels === 1 ? {} : { priority };
      all.push((await loose.publish(channel, { n: priority }, given)).durability);
    }
    return all;
  });
}

/** The start is refused for this feature, by the name of the topic, and has made nothing. */
async function assertRefused(
  fixture: EngineFixture,
  options: Partial<KafkaEngineOptions>,
  channel: Channel,
  {
    feature,
    available,
    topic,
  }: { readonly feature: string; readonly available: string; readonly topic: string },
): Promise<void> {
  const before = (await topicsIn(fixture)).toSorted();
  const error = await onBus(fixture, options, channel, async () => undefined).catch((one: unknown) => one);
  assert.ok(error instanceof UnsupportedCapabilityError, `the bus started: ${String(error)}`);
  const [unmet, ...others] = error.unmet;
  assert.deepEqual([unmet?.feature, others], [feature, []]);
  const name = `${own(fixture).prefix}${topic}`;
  const said = unmet?.available ?? '';
  assert.ok(said.startsWith(`${available} at topic "${name}"`), said);
  assert.ok((unmet?.remedies.length ?? 0) > 1, 'remedies');
  assert.deepEqual((await topicsIn(fixture)).toSorted(), before);
}

export const standingCases: readonly ConformanceCase[] = [
  {
    name: 'a topic that was made without a sync gives no disk to who asks for it later, and one that was given it does',
    async run(fixture) {
      const flushing = { flushEachMessage: true };
      assert.deepEqual(await stated(fixture, {}, requiring()), ['memory']);
      const refused = { feature: 'confirm', available: 'memory', topic: NAME };
      await assertRefused(fixture, flushing, requiring({ confirm: 'disk' }), refused);
      // Who does not require it is told the truth.
      assert.deepEqual(await stated(fixture, flushing, requiring()), ['memory']);
      await set(fixture, 'flush.messages', '1');
      assert.deepEqual(await stated(fixture, flushing, requiring({ confirm: 'disk' })), ['disk']);
      // Also of an engine that would make another one.
      assert.deepEqual(await stated(fixture, {}, requiring({ confirm: 'disk' })), ['disk']);
    },
  },
  {
    name: 'a topic with one copy is not replicated, whatever is asked of new ones',
    async run(fixture) {
      assert.deepEqual(await stated(fixture, {}, requiring()), ['memory']);
      const refused = { feature: 'confirm', available: 'memory', topic: NAME };
      const asking = { replicationFactor: 3, minInsyncReplicas: 2 };
      await assertRefused(fixture, asking, requiring({ confirm: 'replicated' }), refused);
    },
  },
  {
    name: 'of the topics of a channel with priorities the weakest counts, be it the last',
    async run(fixture) {
      const flushing = { flushEachMessage: true };
      await make(fixture, '', { 'flush.messages': '1' });
      await make(fixture, '-P2', {});
      const refused = { feature: 'confirm', available: 'memory', topic: `${NAME}-P2` };
      await assertRefused(fixture, flushing, ranked('disk'), refused);
      assert.deepEqual(await stated(fixture, flushing, ranked()), ['memory', 'memory', 'memory']);
    },
  },
  {
    name: "a size is asked of the topic's own max.message.bytes",
    async run(fixture) {
      await make(fixture, '', { 'max.message.bytes': '20000' });
      const refused = { feature: 'size', available: 'up to 18976 bytes', topic: NAME };
      await assertRefused(fixture, {}, requiring({ size: { maxBytes: 18_977 } }), refused);
      const channel = requiring({ size: { maxBytes: 18_976 } });
      await onBus(fixture, {}, channel, async (bus) => {
        const long = 'x'.repeat(18_000);
        await bus.publish(channel, { n: 1 }, { key: 'k', headers: { long } });
      });
    },
  },
  {
    name: 'flushEachMessage makes every topic with a sync for each batch, and a confirmation states disk',
    async run(fixture) {
      const channel = requiring({ confirm: 'disk' });
      const durability = await onBus(fixture, { flushEachMessage: true }, channel, async (bus) => {
        assert.equal((await bus.view()).capabilities?.confirm, 'disk');
        await bus.subscribe(channel, { name: 'one', handler: () => ack() }).started;
        return (await bus.publish(channel, { n: 1 })).durability;
      });
      assert.equal(durability, 'disk');
      const topic = `${own(fixture).prefix}${NAME}`;
      const expected = [topic, `${topic}-S-one-L`, `${topic}-S-one-D`, `${own(fixture).prefix}-R`];
      assert.deepEqual(await flushesOf(fixture), Object.fromEntries(expected.map((name) => [name, '1'])));
    },
  },
  {
    name: 'without flushEachMessage no topic is synced for a batch, and a confirmation states memory',
    async run(fixture) {
      assert.deepEqual(await stated(fixture, {}, requiring()), ['memory']);
      const refused = await onBus(fixture, {}, requiring({ confirm: 'disk' }), async () => undefined).catch(
        (error: unknown) => error,
      );
      assert.ok(refused instanceof UnsupportedCapabilityError, String(refused));
      for (const [topic, flushes] of Object.entries(await flushesOf(fixture)))
        assert.notEqual(flushes, '1', topic);
    },
  },
];
