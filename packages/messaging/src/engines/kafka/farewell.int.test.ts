/** Leaving a server that takes connections and answers nothing: on a socket of the test's own, with requests that would wait for a minute and be tried again. */
import { createServer, type Server, type Socket } from 'node:net';
import { Base } from '@platformatic/kafka';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import { cut, Farewell, FAREWELL_MS } from './farewell.ts';
import { clientOptions } from './link.ts';
import { settingsOf } from './options.ts';
import { loneMembership } from './testing/lone-membership.ts';

describe('a server that answers nothing', () => {
  let server: Server;
  let asked: Collector<Socket>;
  let sockets: Set<Socket>;
  const settings = () => {
    const { port } = server.address() as { port: number };
    return settingsOf({ url: `kafka://127.0.0.1:${port}`, requestTimeoutMs: 60_000 });
  };

  beforeEach(async () => {
    asked = new Collector();
    sockets = new Set();
    server = createServer((socket) => {
      sockets.add(socket);
      socket
        .on('data', () => asked.add(socket))
        .on('error', () => {})
        .on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const allClosed = (): Promise<unknown> =>
    eventually(
      async () => sockets.size,
      (open) => open === 0,
      'the end of all connections',
    );

  it('a client that is cut off has no connection, and what it had asked for is rejected', async () => {
    const client = new Base(clientOptions(settings()));
    const asking = client.metadata({ topics: [] });
    await asked.waitFor(1);
    cut(client);
    await expect(asking).rejects.toThrow(/failed|closed|cannot connect/iu);
    await allClosed();
    await expect(client.metadata({ topics: [] })).rejects.toThrow(/cannot connect|closed/iu);
  });

  it('a member that joins is out of it when it is cut off, and so is who leaves', async () => {
    const one = loneMembership(settings(), systemClock);
    const joining = one.join().then(
      () => 'joined',
      ({ retryable }: { retryable: boolean }) => ({ retryable }),
    );
    await asked.waitFor(1);
    const leaving = one.leave();
    one.cut();
    expect(await joining).toEqual({ retryable: true });
    await leaving;
    await allClosed();
  });
});

describe('how long somebody waits', () => {
  it('until the time is over, and no longer than the work', async () => {
    const clock = createManualClock();
    const farewell = new Farewell(clock);
    const endless = farewell.endsWithin(FAREWELL_MS, new Promise(() => {}));
    clock.advance(FAREWELL_MS);
    expect(await endless).toBe(false);
    expect(await farewell.endsWithin(FAREWELL_MS, Promise.resolve())).toBe(true);
    expect(await farewell.endsWithin(FAREWELL_MS, Promise.reject(new Error('refused')))).toBe(true);
  });
});
