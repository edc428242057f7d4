/**
 * A process that hangs as a whole (SIGSTOP) while it holds a message: the engine gives what it has to another, and what it settles when it goes on counts for nothing. Its settlement is a dead
 * letter, which would be seen wherever it counted, and it comes before a heartbeat or a lost connection could tell the process anything.
 */
import assert from 'node:assert/strict';
import { createBus } from '../bus.ts';
import { plain } from '../conformance/channels.ts';
import { startChild } from '../conformance/child-process.ts';
import { Collector, type EngineFixture, eventually } from '../conformance/fixture.ts';
import { ack } from '../outcome.ts';

/** `hangs` false is the control: the same without the SIGSTOP, and the settlement counts. `argument` is that of the fixture's `openEngine`. */
export async function holderHangs(
  fixture: EngineFixture,
  argument: string,
  { hangs = true }: { readonly hangs?: boolean } = {},
): Promise<void> {
  const child = startChild(new URL('hanging-child.ts', import.meta.url), [
    fixture.child?.module.href ?? '',
    argument,
  ]);
  const bus = createBus({ engine: fixture.open(), source: '/awake' });
  bus.declare([plain]);
  const got = new Collector<readonly [id: string, attempt: number]>();
  try {
    await Promise.all([bus.start(), child.started]);
    const { id } = await bus.publish(plain, { n: 1 });
    assert.equal(await child.line('holding'), `holding ${id}`);
    await bus.subscribe(plain, {
      name: 'one',
      handler: (message, { attempt }) => {
        got.add([message.id, attempt]);
        return ack();
      },
    }).started;
    if (hangs) {
      await child.freeze();
      // That somebody took it in vain is counted.
      assert.deepEqual(await got.waitFor(1, 'messages of the process that hangs'), [[id, 2]]);
    }
    child.send('SIGCONT');
    assert.equal(await child.line('settled'), hangs ? 'settled lost' : 'settled settled');
    await child.ended;
    const { id: next } = await bus.publish(plain, { n: 2 });
    await eventually(
      async () => got.values.map(([one]) => one),
      (ids) => ids.includes(next),
      'the next message',
    );
    assert.deepEqual(got.values, [...(hangs ? [[id, 2]] : []), [next, 1]]);
    const letters = await bus.deadLetters.list();
    assert.deepEqual(
      letters.map(({ messageId }) => messageId),
      hangs ? [] : [id],
    );
  } finally {
    child.send('SIGCONT');
    child.send('SIGKILL');
    await child.ended;
    await bus.stop({ drainMs: 0 });
  }
}
