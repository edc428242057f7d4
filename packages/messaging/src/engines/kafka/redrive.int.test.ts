/** Control of the redrive that was killed: with the defence off messages come twice, and then it is the inbox that keeps their effects once. */
import { describe, expect, it } from 'vitest';
import { onFixture } from '../../conformance/controls.ts';
import { createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { plantOwn } from './own-defects.ts';
import { type AfterKill, once, redriveAfterKill } from './redrive-cases.ts';

describe.skipIf(kafkaUrl === undefined)(
  'a redrive that is killed (needs KAFKA_URL)',
  { timeout: 60_000 },
  () => {
    it('control: an owner that takes every copy hands out twice what was redriven twice; nothing is lost, and an inbox sees it', async () => {
      const undo = plantOwn('a second copy of a letter is taken back again');
      let after: AfterKill | undefined;
      try {
        await onFixture(createKafkaFixture, async (fixture) => {
          after = await redriveAfterKill(fixture);
        });
      } finally {
        undo();
      }
      expect(after?.handled.filter((times) => times === 2)).toHaveLength(200);
      expect(after?.handled.filter((times) => times === 1)).toHaveLength(50);
      expect(after?.effects).toEqual(once);
      expect(after?.letters).toBe(0);
    });
  },
);
