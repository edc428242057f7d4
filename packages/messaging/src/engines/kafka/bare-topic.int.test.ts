/** A topic that others made and go on using, under its own name: with an empty prefix it is a channel, and what the engine makes for itself lies beside it. */
import { Admin } from '@platformatic/kafka';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, eventually, limitPatience } from '../../conformance/fixture.ts';
import { createIds } from '../../ids.ts';
import type { Message } from '../../message.ts';
import { ack } from '../../outcome.ts';
import { clientOf, createKafkaFixture, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { produce, readForeign } from './kafka-cases.ts';

const ids = createIds(systemClock);
/** One name for all that use an empty prefix on these brokers, so a run deletes it only where that run has made it. */
const REGISTRY = '-R';
const event = {
  ce_specversion: '1.0',
  ce_id: 'e-1',
  ce_type: 'order',
  ce_source: '/java',
  'content-type': 'application/json',
};

describe.skipIf(kafkaUrl === undefined)(
  'a topic of others under its own name (needs KAFKA_URL)',
  { timeout: 60_000 },
  () => {
    let fixture: KafkaFixture;
    let admin: Admin;
    let topic: string;
    const made = new Set<string>();
    const groups: string[] = [];

    beforeEach(async () => {
      fixture = await createKafkaFixture();
      admin = new Admin(clientOf(kafkaUrl ?? ''));
    });
    afterEach(async () => {
      await admin.close();
      await fixture.destroy();
    });

    /** Their topic, what they write before and after the bus is there, and what they read of it. */
    async function share(prefix: string): Promise<void> {
      topic = `others.orders.${ids.next()}`;
      const channel = defineChannel({ name: topic, version: 1, schema: Type.Object({ n: Type.Integer() }) });
      made.add(topic);
      groups.push(`${topic}-S-mail`, `${topic}.theirs`);
      await admin.createTopics({ topics: [topic], partitions: 3, replicas: 1 });
      await produce({ topic, key: 'ada', value: '{"n":1}', headers: event });
      const got = new Collector<Message>();
      const engine = fixture.engine({
        prefix,
        trimEveryMs: 0,
        onNotice: (notice) => {
          if (notice.kind === 'declared') made.add(notice.topic);
        },
      });
      const bus = createBus({ engine, source: '/ours' });
      bus.declare([channel]);
      bus.subscribe(channel, {
        name: 'mail',
        handler: (message) => {
          got.add(message);
          return ack();
        },
      });
      try {
        await bus.start();
        await produce({ topic, value: '{"n":2}' });
        await got.waitFor(1);
        await bus.publish(channel, { n: 3 }, { key: 'ada' });
        await got.waitFor(2);
        await eventually(
          () => bus.deadLetters.list(),
          ([letter]) => letter?.raw === '{"n":2}' && letter.history[0]?.kind === 'malformed',
          'the plain record as a dead letter',
        );
      } finally {
        await bus.stop();
      }
      expect(got.values.map(({ id, source, key, data }) => [id, source, key, data])).toEqual([
        ['e-1', '/java', 'ada', { n: 1 }],
        [expect.any(String), '/ours', 'ada', { n: 3 }],
      ]);
      const theirs = await readForeign(topic, `${topic}.theirs`, 3);
      expect(theirs.map(({ value }) => value).toSorted()).toEqual(['{"n":1}', '{"n":2}', '{"n":3}']);
      const ours = theirs.find(({ value }) => value === '{"n":3}');
      expect(ours?.key).toBe('ada');
      expect(ours?.headers.get('ce_source')).toBe('/ours');
      expect(ours?.headers.get('ce_type')).toBe(topic);
    }

    /** Exactly what this run has made, by name. */
    async function clearAway(): Promise<void> {
      await admin.deleteTopics({ topics: [...made] });
      made.clear();
      for (const group of groups.splice(0)) await admin.deleteGroups({ groups: [group] }).catch(() => {});
    }

    it('is read and written as a channel, and only what the page names is beside it', async () => {
      try {
        await share('');
        const beside = [`${topic}-S-mail-D`, `${topic}-S-mail-L`];
        const all = await admin.listTopics();
        expect(all).toContain(REGISTRY);
        expect(all.filter((one) => one.includes(topic)).toSorted()).toEqual([topic, ...beside]);
        const ours = new Set([...made].filter((one) => one !== REGISTRY));
        expect(ours).toEqual(new Set([topic, ...beside]));
        const { topics } = await admin.metadata({ topics: [topic, ...beside] });
        expect([...topics.values()].map(({ partitionsCount }) => partitionsCount)).toEqual([3, 3, 3]);
        expect((await admin.listGroups()).has(`${topic}-S-mail`)).toBe(true);
      } finally {
        await clearAway();
      }
      expect((await admin.listTopics()).filter((one) => one.includes(topic))).toEqual([]);
    });

    registerControls(it, 'kafka', [
      {
        defect: 'an empty prefix counts as none given',
        caughtBy: 'a topic of others is read and written under its own name',
        async healthy() {
          try {
            await share('');
          } finally {
            await clearAway();
          }
        },
        async defective() {
          limitPatience(1_000);
          try {
            await share(fixture.prefix);
          } finally {
            limitPatience(30_000);
            await clearAway();
          }
        },
      },
    ]);
  },
);
