/** The places of event streams: a reader that has gone holds none, and neither an address nor a connection holds them all. */
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { fastify, type FastifyInstance, type FastifyRequest } from 'fastify';
import { afterEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../config.ts';
import { createMetrics } from '../live/metrics.ts';
import { HttpProblem } from './problem.ts';
import { eventStreams } from './server-sent-events.ts';

let app: FastifyInstance;
const readers: Socket[] = [];
afterEach(async () => {
  for (const socket of readers.splice(0)) socket.destroy();
  await app.close();
});

/** A server whose route does `before` and then opens a stream. */
async function serve(
  before: (request: FastifyRequest) => unknown = () => undefined,
  limits: Readonly<Record<string, number>> = {},
) {
  app = fastify({ trustProxy: true });
  const clock = createManualClock();
  const metrics = createMetrics();
  const streams = eventStreams(app, {
    clock,
    metrics,
    config: loadConfig({ environment: {}, flags: { limits } }),
  });
  const told = { opened: 0, refused: 0, ended: 0 };
  const waiting = new Set<() => void>();
  const count = (what: keyof typeof told): void => {
    told[what]++;
    for (const look of waiting) look();
  };
  app.setErrorHandler((error, _request, reply) => {
    count('refused');
    return reply.code(error instanceof HttpProblem ? error.status : 500).send('refused');
  });
  app.get('/live', async (request, reply) => {
    await before(request);
    const stream = streams.open(request, reply);
    count('opened');
    stream.onEnd(() => count('ended'));
    return reply;
  });
  app.get('/never', () => new Promise(() => undefined));
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return {
    clock,
    told,
    ask(paths: readonly string[] = ['/live'], address = '203.0.113.1'): Socket {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      readers.push(socket.resume());
      const text = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\nx-forwarded-for: ${address}\r\n\r\n`;
      socket.write(paths.map(text).join(''));
      return socket;
    },
    until: (what: Partial<typeof told>) =>
      new Promise<void>((resolve) => {
        const look = (): void => {
          if (Object.entries(what).every(([name, n]) => told[name as keyof typeof told] === n)) resolve();
        };
        waiting.add(look);
        look();
      }),
    async metric(name: string): Promise<string | undefined> {
      const { body } = await metrics.expose();
      return body
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.slice(name.length + 1);
    },
  };
}

describe('a reader that has gone', () => {
  it.each([
    ['alone on its connection', ['/live']],
    ['behind another', ['/never', '/live']],
  ])('while its request was looked at, %s, holds no place', async (_, paths) => {
    const arrived = Promise.withResolvers<void>();
    const server = await serve(async ({ raw }) => {
      arrived.resolve();
      await once(raw.socket, 'close');
    });
    const reader = server.ask(paths);
    await arrived.promise;
    reader.destroy();
    await server.until({ opened: 1 });
    expect(server.told.ended).toBe(1);
    expect(await server.metric('doorbuster_event_streams')).toBe('0');
    expect(server.clock.nextTimerAt()).toBeUndefined();
  });

  it('while its stream waited behind another answer of the connection holds no place', async () => {
    let connection: Socket | undefined;
    const server = await serve(({ raw }) => void (connection = raw.socket));
    const reader = server.ask(['/never', '/live']);
    await server.until({ opened: 1 });
    expect(await server.metric('doorbuster_event_streams')).toBe('1');
    const gone = once(connection!, 'close');
    reader.destroy();
    await gone;
    expect(server.told.ended).toBe(1);
    expect(await server.metric('doorbuster_event_streams')).toBe('0');
    expect(server.clock.nextTimerAt()).toBeUndefined();
  });
});

describe('one who asks for many', () => {
  it('on one connection has one place', async () => {
    const server = await serve();
    const reader = server.ask(Array.from({ length: 20 }, () => '/live'));
    await server.until({ opened: 1, refused: 19 });
    expect(await server.metric('doorbuster_event_streams')).toBe('1');
    expect(await server.metric('doorbuster_shed_total{reason="connection-streams"}')).toBe('19');
    server.ask();
    await server.until({ opened: 2 });
    reader.destroy();
    await server.until({ ended: 1 });
    expect(await server.metric('doorbuster_event_streams')).toBe('1');
  });

  it('from one address has so many places as are set, and leaves the others to others', async () => {
    const server = await serve(() => undefined, { addressStreams: 3 });
    const all = Array.from({ length: 5 }, () => server.ask());
    await server.until({ opened: 3, refused: 2 });
    expect(await server.metric('doorbuster_shed_total{reason="address-streams"}')).toBe('2');
    server.ask(['/live'], '203.0.113.2');
    await server.until({ opened: 4 });
    for (const reader of all) reader.destroy();
    await server.until({ ended: 3 });
    for (let i = 0; i < 3; i++) server.ask();
    await server.until({ opened: 7 });
    expect(server.told.refused).toBe(2);
  });

  it('counts one house of IPv6 as one address', async () => {
    const server = await serve(() => undefined, { addressStreams: 2 });
    for (let i = 1; i <= 3; i++) server.ask(['/live'], `2001:db8:0:1::${i}`);
    await server.until({ opened: 2, refused: 1 });
    server.ask(['/live'], '2001:db8:0:2::1');
    await server.until({ opened: 3 });
    expect(server.told.refused).toBe(1);
  });
});
