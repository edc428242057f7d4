/** A process that hangs as a whole (SIGSTOP): the broker drops its connection after missed heartbeats and hands out what it held, and what it settles afterwards counts for nothing. */
import { afterAll, describe, expect, it } from 'vitest';
import { holderHangs } from '../../testing/hanging-process.ts';
import { createRabbitFixture, rabbitUrl, removeLadder } from './conformance-fixture.ts';

/** Of the process that hangs; the engine's own would be ten. */
const HEARTBEAT_S = 1;

describe.skipIf(!rabbitUrl)('a process that hangs (needs RABBITMQ_URL)', { timeout: 60_000 }, () => {
  afterAll(() => removeLadder());

  it.each([
    ['loses its connection with its heartbeats, and its late settlement counts for nothing', true],
    ['control: one that does not hang keeps it, and the same settlement counts', false],
  ])('%s', async (_, hangs) => {
    const fixture = await createRabbitFixture();
    try {
      await expect(
        holderHangs(fixture, `${fixture.prefix}|${HEARTBEAT_S}`, { hangs }),
      ).resolves.toBeUndefined();
    } finally {
      await fixture.destroy();
    }
  });
});
