/** The end of a connection that is just coming back: nothing of it is left, whatever it was doing. */
import assert from 'node:assert/strict';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { systemClock } from '../clock.ts';
import { registerControls } from '../conformance/controls.ts';
import { eventually, limitPatience } from '../conformance/fixture.ts';
import { senderOn } from './sender.ts';
import { connectRedis, type RedisLink } from './server.ts';
import { certificate } from './testing/certificate.ts';
import { cutProxyTo } from './testing/cut-proxy.ts';
import { tlsDoorTo } from './testing/tls-door.ts';

const url = process.env['REDIS_URL'] ?? '';

/** A way back is made in far less. */
limitPatience(2_000);

type End = (link: RedisLink) => void;
const endLink: End = (link) => link.end();
/** What the client's own end does, and no more. */
const endClient: End = ({ client }) => client.destroy();

const linkTo = (way: string): Promise<RedisLink> =>
  connectRedis({ url: way, name: 'ended', connectTimeoutMs: 60_000, clock: systemClock });

const counts = (look: () => number, count: number, what: string): Promise<number> =>
  eventually(
    async () => look(),
    (seen) => seen === count,
    what,
  );

/** What was asked rejects in the very moment in which the client has begun to connect again, and is not connected. */
async function leavesNoConnection(end: End): Promise<void> {
  const proxy = await cutProxyTo(url);
  const link = await linkTo(proxy.url);
  try {
    const asked = senderOn(link, undefined).send(['BLPOP', 'nobody writes this', '0']);
    const ended = assert.rejects(asked).then(() => end(link));
    await counts(() => proxy.open, 1, 'the connection');
    proxy.cut({ refuse: false });
    await ended;
    // Nothing tells that nobody comes: one who comes later shows that whoever knocked before is there.
    const later = await linkTo(proxy.url);
    try {
      await later.client.ping();
      await counts(() => proxy.open, 1, 'only the connection that came later');
    } finally {
      later.end();
    }
  } finally {
    link.end();
    await proxy.close();
  }
}

/** It waits for the handshake for as long as `connectTimeoutMs`, and the process with it. */
async function waitsForNoHandshake(end: End): Promise<void> {
  const door = await tlsDoorTo(url);
  const link = await linkTo(door.url);
  try {
    door.hold();
    await counts(() => door.held, 1, 'a way back that is held');
    end(link);
    await counts(() => door.held, 0, 'nobody waiting at the door');
  } finally {
    link.end();
    await door.close();
  }
}

describe.skipIf(!url)('a Redis connection that is ended on its way back (set REDIS_URL to run it)', () => {
  const trusted = getCACertificates('default');
  beforeAll(() => setDefaultCACertificates([...trusted, certificate]));
  afterAll(() => setDefaultCACertificates(trusted));

  registerControls(
    it,
    'redis',
    [
      { caughtBy: 'ended while it connects, it is not connected afterwards', run: leavesNoConnection },
      { caughtBy: 'ended while it shakes hands, it does not wait for that', run: waitsForNoHandshake },
    ].map(({ caughtBy, run }) => ({
      defect: 'the end does not reach a socket that is not connected yet',
      caughtBy,
      healthy: () => run(endLink),
      defective: () => run(endClient),
    })),
  );
});
