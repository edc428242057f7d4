/** Negative controls on the real broker: defects planted between the toolkit and this engine, each seen by the suite. */
import { afterAll, describe, expect, it } from 'vitest';
import { limitPatience } from '../../conformance/fixture.ts';
import { plant, type PlantedDefect } from '../../conformance/planted-defects.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { createRabbitFixture, rabbitUrl, removeLadder } from './conformance-fixture.ts';

const LADDER = 'defects.';

/** Part of the name of the case that sees the defect. */
const seenBy: Readonly<Partial<Record<PlantedDefect, string>>> = {
  'a retry is an ack': 'snooze comes back later',
  'a release is an ack': 'a graceful stop lets handlers finish',
  'dead letters are dropped': 'poison ends as a dead letter',
  'a delay is ignored': 'a delayed message is not early',
  'the key is lost': 'order per key: one message of a key',
  'every message comes twice': 'messages arrive once, oldest first',
  'a confirmation claims too much': 'a confirmation states the durability',
};

// A healthy engine needs a quarter of it for each of these cases.
limitPatience(4_000);

describe.skipIf(rabbitUrl === undefined)(
  'planted defects on RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it.each(Object.keys(seenBy) as PlantedDefect[])('the suite catches: %s', async (defect) => {
      const found = conformanceCases.filter(({ name }) => name.includes(seenBy[defect] ?? 'nothing'));
      expect(found).toHaveLength(1);
      const fixture = await createRabbitFixture(LADDER);
      try {
        const defective = { ...fixture, open: () => plant(defect, fixture.open()) };
        await expect(found[0]?.run(defective)).rejects.toThrow(/./);
      } finally {
        await fixture.destroy();
      }
    });
  },
);
