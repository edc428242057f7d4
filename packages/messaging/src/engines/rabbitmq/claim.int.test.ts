/** The first subscription of a channel, made while another process is moving the backlog to it: nobody binds in front of what is still being moved. */
import { connect } from 'amqplib';
import { afterAll, describe, expect, it } from 'vitest';
import Type from 'typebox';
import { type Bus, createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { Collector } from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { createRabbitFixture, onBroker, rabbitUrl, removeLadder } from './conformance-fixture.ts';
import { namesOf } from './names.ts';

const LADDER = 'claim.';
const PARTITIONS = 4;
const KEPT = 20;
/** Answers of the broker, one after the other: by then a start that does not wait has bound its queues. */
const ANSWERS = 300;
const options = { key: 'k' };
const inOrder = defineChannel({
  name: 'kept.in.order',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  order: 'key',
  requires: { emulation: ['order'] },
});

describe.skipIf(!rabbitUrl)(
  'the backlog of a first subscription (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it('whoever starts while it is being moved waits, and what is published then is behind all of it', async () => {
      const fixture = await createRabbitFixture({ ladderPrefix: LADDER });
      const buses: Bus[] = [];
      const open = (onDeclared: (name: string) => void = () => {}): Bus => {
        const engine = fixture.engine({
          partitions: PARTITIONS,
          onNotice: (notice) => void (notice.kind === 'declared' && onDeclared(notice.name)),
        });
        const bus = createBus({ engine, source: '/claim' });
        bus.declare([inOrder]);
        buses.push(bus);
        return bus;
      };
      const names = namesOf(fixture.prefix, PARTITIONS);
      const mover = await connect(rabbitUrl ?? '');
      try {
        const publisher = open();
        await publisher.start();
        const kept = Array.from({ length: KEPT }, (_, n) => n);
        await publisher.publishBatch(
          inOrder,
          kept.map((n) => ({ data: { n }, options })),
        );
        const taken = new Collector<unknown>();
        const channel = await mover.createChannel();
        await channel.consume(names.unclaimed(inOrder.name), (message) => taken.add(message));
        await taken.waitFor(KEPT);

        const lastDeclared = `${fixture.prefix}${inOrder.name}/s/one/notes/${PARTITIONS - 1}`;
        const declared = new Collector<string>();
        const bus = open((name) => void (name === lastDeclared && declared.add(name)));
        const got = new Collector<number>();
        bus.subscribe(inOrder, {
          name: 'one',
          handler: ({ data }) => {
            got.add(data.n);
            return ack();
          },
        });
        const starting = bus.start();
        await declared.waitFor(1);
        await onBroker(async (other) => {
          for (let answer = 0; answer < ANSWERS; answer += 1)
            await other.checkQueue(names.unclaimed(inOrder.name));
        });
        // The other mover is killed.
        await mover.close();
        await starting;
        await publisher.publish(inOrder, { n: KEPT }, options);
        expect(await got.waitFor(KEPT + 1)).toEqual([...kept, KEPT]);
      } finally {
        await Promise.all(buses.map((bus) => bus.stop()));
        await mover.close().catch(() => {});
        await fixture.destroy();
      }
    });
  },
);
