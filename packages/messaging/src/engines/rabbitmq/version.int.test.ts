/** What an engine does with what a broker says of itself: a door in front of the broker that changes the version in its greeting. */
import { createServer, connect, type Socket } from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../clock.ts';
import { eventually } from '../../conformance/fixture.ts';
import { rabbitUrl } from './conformance-fixture.ts';
import { createRabbitEngine } from './engine.ts';
import type { RabbitNotice } from './options.ts';

const context = { clock: systemClock, onFatal: () => {} };
interface Door {
  readonly close: () => void;
  /** Connections through it. */
  readonly open: () => number;
}

const doors: Door[] = [];

/** `said` has as many characters as the broker's own version, or its greeting would no longer add up. */
async function brokerThatSays(said: string): Promise<string> {
  const target = new URL(rabbitUrl ?? '');
  const sockets = new Set<Socket>();
  const server = createServer((inner) => {
    const outer = connect(Number(target.port || 5672), target.hostname);
    sockets.add(inner).add(outer);
    for (const socket of [inner, outer]) socket.on('error', () => {});
    inner.pipe(outer);
    outer.on('data', (chunk: Buffer) => {
      const text = chunk.toString('latin1');
      const changed = text.replace(
        /(versionS.{4})(\d+\.\d+\.\d+)/s,
        (whole, before: string, version: string) => (version.length === said.length ? before + said : whole),
      );
      inner.write(Buffer.from(changed, 'latin1'));
    });
    outer.on('close', () => {
      sockets.delete(outer);
      inner.destroy();
    });
    inner.on('close', () => {
      sockets.delete(inner);
      outer.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  doors.push({
    open: () => sockets.size,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const url = new URL(target);
  url.port = String(address.port);
  return url.toString();
}

/** As long as the broker's own. */
async function versionLike(major: number, minor: number): Promise<string> {
  const connection = await createRabbitEngine({ url: rabbitUrl ?? '' }).connect(context);
  const { version } = connection.capabilities;
  await connection.close();
  const start = `${major}.${minor}.`;
  return start.padEnd(version.replace('RabbitMQ ', '').length, '9');
}

describe.skipIf(rabbitUrl === undefined)('the version of the broker (needs RABBITMQ_URL)', () => {
  afterAll(() => {
    for (const { close } of doors) close();
  });

  it('older than 3.10 is refused, and said to be', async () => {
    const url = await brokerThatSays(await versionLike(3, 9));
    await expect(createRabbitEngine({ url }).connect(context)).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNSAFE',
      retryable: false,
      message: expect.stringMatching(/"3\.9\..*older than 3\.10/),
    });
  });

  it('older than 3.10: nothing goes on behind the refusal that would keep the process', async () => {
    const url = await brokerThatSays(await versionLike(3, 9));
    const notices: RabbitNotice[] = [];
    const timers = new Set<object>();
    const clock: Clock = {
      ...systemClock,
      setTimer(ms, fn) {
        const timer = {};
        timers.add(timer);
        const cancel = systemClock.setTimer(ms, () => {
          timers.delete(timer);
          fn();
        });
        return () => {
          timers.delete(timer);
          cancel();
        };
      },
    };
    const engine = createRabbitEngine({ url, onNotice: (one) => notices.push(one) });
    await expect(engine.connect({ ...context, clock })).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNSAFE',
    });
    // The other link may have been on its way up.
    await eventually(
      async () => doors.at(-1)?.open(),
      (open) => open === 0,
      'both connections gone',
    );
    await new Promise((resolve) => setImmediate(resolve));
    expect(timers.size).toBe(0);
    expect(notices.filter(({ kind }) => kind === 'trouble')).toEqual([]);
  });

  it('of a major number that was never tried is taken, and told', async () => {
    const notices: RabbitNotice[] = [];
    const url = await brokerThatSays(await versionLike(4, 1));
    const connection = await createRabbitEngine({ url, onNotice: (one) => notices.push(one) }).connect(
      context,
    );
    expect(connection.capabilities.version).toMatch(/^RabbitMQ 4\.1\./);
    await connection.close();
    expect(notices).toContainEqual({ kind: 'untried', server: expect.stringMatching(/^RabbitMQ 4\.1\./) });
  });

  it('as it is: taken without a word (control)', async () => {
    const notices: RabbitNotice[] = [];
    const connection = await createRabbitEngine({
      url: rabbitUrl ?? '',
      onNotice: (one) => notices.push(one),
    }).connect(context);
    await connection.close();
    expect(notices.filter(({ kind }) => kind === 'untried')).toEqual([]);
  });
});
