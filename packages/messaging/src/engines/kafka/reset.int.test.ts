/** A server that resets connections while they authenticate: whoever asked is told, and the process goes on. On a socket of the test's own. */
import { execFile } from 'node:child_process';
import { createServer, type Server } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const child = fileURLToPath(new URL('reset-child.ts', import.meta.url));

interface Ended {
  readonly failed: boolean;
  readonly said: string;
  readonly cried: string;
}

describe('a server that resets what authenticates', { timeout: 60_000 }, () => {
  let server: Server;
  let resets: number;

  beforeEach(async () => {
    resets = 0;
    server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        resets += 1;
        socket.resetAndDestroy();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  function asks(who: string): Promise<Ended> {
    const { port } = server.address() as { port: number };
    return new Promise((resolve) => {
      execFile(process.execPath, [child, `kafka://127.0.0.1:${port}`, who], (error, said, cried) =>
        resolve({ failed: error !== null, said: said.trim(), cried }),
      );
    });
  }

  it.each(['connect', 'publish', 'join'])('ends no process that asks: %s', async (who) => {
    expect(await asks(who)).toEqual({ failed: false, said: 'DB_MSG_ENGINE_UNREACHABLE', cried: '' });
    expect(resets).toBeGreaterThan(0);
  });

  it('control: ends one whose client is used as it comes', async () => {
    const { failed, cried } = await asks('bare');
    expect(failed).toBe(true);
    expect(cried).toContain('PLT_KFK_NETWORK');
  });
});
