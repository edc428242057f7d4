/** The host's end of a link, against clients that do not do what a client does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type Clock, systemClock } from '../../../clock.ts';
import { eventually, limitPatience, signal } from '../../../conformance/fixture.ts';
import { openInProcessWriter } from '../writer.ts';
import { encodeFrame, readFrames } from './frames.ts';
import { listenOn } from './host.ts';
import { Hub } from './hub.ts';
import { ANSWER_MS } from './link.ts';
import { HOST_FRAME_BYTES, PROTOCOL } from './wire.ts';

limitPatience(2_000);

it('ends a client that stands still and does not hear the good-bye', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'host-'));
  const path = join(folder, 'sock');
  const timers = new Map<() => void, number>();
  const clock: Clock = {
    ...systemClock,
    setTimer(ms, fn) {
      timers.set(fn, ms);
      return () => timers.delete(fn);
    },
  };
  const database = new DatabaseSync(':memory:');
  const writer = openInProcessWriter(database);
  const hub = new Hub({ writer, clock: systemClock, maxMessageBytes: 2 ** 20, onLost: () => {} });
  const host = await listenOn(path, hub, clock);
  // Half open: it never ends what the host has ended, as a process under SIGSTOP.
  const client = createConnection({ path, allowHalfOpen: true }).on('error', () => {});
  try {
    const welcomed = signal();
    const dismissed = signal();
    client.on('end', dismissed.fire);
    readFrames(client, HOST_FRAME_BYTES, welcomed.fire, () => {});
    const hello = encodeFrame({ hello: { protocol: PROTOCOL } });
    client.write(hello);
    await welcomed.fired;
    expect(timers.size).toBe(0);
    await host.close();
    await dismissed.fired;
    for (const [fire, ms] of timers) {
      expect(ms).toBe(ANSWER_MS);
      fire();
    }
    // The host hears nothing that a client says after the good-bye: only a connection that is gone refuses it.
    await eventually(
      async () => {
        client.write(hello);
        return client.destroyed;
      },
      (isGone) => isGone,
      'the end of the connection',
    );
    expect(timers.size).toBe(0);
  } finally {
    client.destroy();
    await hub.close();
    database.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
