/** A server that takes the connection and then stands still, as a stopped process or a way that swallows everything does. */
import { createServer, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { systemClock } from '../clock.ts';
import { connectRedis } from './server.ts';

it('a connection on which nothing is answered counts as out of reach when the time is over', async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  try {
    await expect(
      connectRedis({
        url: `redis://127.0.0.1:${port}`,
        name: 'one',
        connectTimeoutMs: 100,
        clock: systemClock,
      }),
    ).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNREACHABLE',
      message: 'redis: the server does not answer within 100 ms',
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});
