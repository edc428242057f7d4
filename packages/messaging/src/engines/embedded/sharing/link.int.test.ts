/** The client's end of a link, against hosts that do not do what a host does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type Clock, systemClock } from '../../../clock.ts';
import { encodeFrame } from './frames.ts';
import { ANSWER_MS, dial, type Link } from './link.ts';
import { PROTOCOL } from './wire.ts';

it('is closed also where the host stands still and does not hear it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'link-'));
  const path = join(folder, 'sock');
  // Half open: it says welcome and never ends what the client has ended, as a process under SIGSTOP.
  const sockets: Socket[] = [];
  const host = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket.on('error', () => {}));
    socket.write(encodeFrame({ welcome: { protocol: PROTOCOL, durability: 'disk', maxMessageBytes: 1 } }));
  });
  await new Promise<void>((resolve) => host.listen(path, resolve));
  const timers = new Set<() => void>();
  const clock: Clock = {
    ...systemClock,
    setTimer(ms, fn) {
      expect(ms).toBe(ANSWER_MS);
      timers.add(fn);
      return () => timers.delete(fn);
    },
  };
  try {
    const link = (await dial(path, { clock, receive: () => {} })) as Link;
    expect(timers.size).toBe(0);
    const closed = link.close();
    for (const fire of timers) fire();
    await closed;
    expect(timers.size).toBe(0);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => host.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  }
}, 10_000);

it('answers a call that comes between its end and the news of it when the news is there, not before', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'link-'));
  const path = join(folder, 'sock');
  const host = createServer((socket) => {
    socket.on('error', () => {}).resume();
    socket.write(encodeFrame({ welcome: { protocol: PROTOCOL, durability: 'disk', maxMessageBytes: 1 } }));
  });
  await new Promise<void>((resolve) => host.listen(path, resolve));
  try {
    let mine: Socket | undefined;
    const onSocket = (socket: Socket): void => {
      mine = socket;
    };
    const link = (await dial(path, { clock: systemClock, receive: () => {}, onSocket })) as Link;
    let isTold = false;
    void link.ended.then(() => {
      isTold = true;
    });
    mine?.destroy();
    // Whoever is told that it was not done asks the next link, which is sought when this one has ended: answered before, it would ask this one for ever.
    expect(await link.run([{ op: 'inspect' }])).toBeUndefined();
    expect(isTold).toBe(true);
  } finally {
    await new Promise((resolve) => host.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  }
});
