// What would be started, read without starting anything: ports that nobody else has, loopback only, an address for each server.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { dataFolders } from './down.ts';
import { kafkaVersion } from './kafka-jars.ts';
import { missingText } from './packages.ts';
import { firstPortByDefault } from './ports.ts';
import { findProgram, findPrograms, type Programs } from './programs.ts';
import { envText } from './records.ts';
import { type Layout, type ProcessPlan, type ServerName, serverNames } from './server.ts';
import { serversByName } from './servers.ts';

const single: Layout = { folder: '/tmp/there', firstPort: firstPortByDefault, cluster: false, asRoot: true };
const cluster: Layout = { ...single, cluster: true };
const programs: Programs = new Proxy({}, { get: (_, name) => `/bin/${String(name)}` });

const wavesOf = (name: ServerName, layout: Layout, hasData = false) =>
  serversByName[name].waves(layout, programs, hasData);
const plansOf = (layout: Layout): ProcessPlan[] =>
  serverNames.flatMap((name) => wavesOf(name, layout).flat());
const planOf = (layout: Layout, name: string): ProcessPlan =>
  plansOf(layout).find((plan) => plan.name === name)!;
const urlsOf = (layout: Layout): Record<string, string> =>
  Object.assign({}, ...serverNames.map((name) => serversByName[name].urls(layout)));

describe.each([
  ['alone', single, 7],
  ['as a cluster', cluster, 11],
] as const)('the plan of all servers %s', (_, layout, count) => {
  const plans = plansOf(layout);
  const ports = plans.flatMap((plan) => plan.ports);

  it('has each process once', () => {
    expect(new Set(plans.map(({ name }) => name)).size).toBe(count);
    expect(plans).toHaveLength(count);
  });

  it('gives each listener a port that is neither usual nor one of outgoing connections', () => {
    expect(new Set(ports).size).toBe(ports.length);
    const usual = [5432, 3306, 6379, 5672, 15_672, 25_672, 4369, 9092, 9093, 2181];
    expect(ports.filter((port) => usual.includes(port))).toEqual([]);
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(21_000);
    expect(Math.max(...ports)).toBeLessThan(22_000);
  });

  it('moves as a whole with the first port', () => {
    const moved = plansOf({ ...layout, firstPort: 23_000 }).flatMap((plan) => plan.ports);
    expect(moved).toEqual(ports.map((port) => port + 2_000));
  });

  it('keeps everything in the folder, and clears all of it away again', () => {
    for (const { name, server, args, env, files } of plans) {
      expect(dataFolders[server]).toContain(name);
      const said = [...args, ...Object.values(env), ...Object.keys(files ?? {})].join('\n');
      for (const [, folder] of said.matchAll(/\/tmp\/there\/data\/([^/\n]+)/g))
        expect(dataFolders[server]).toContain(folder);
    }
  });

  it('opens nothing to the network', () => {
    for (const { args, env, files } of plans) {
      const said = [...args, ...Object.values(env), ...Object.values(files ?? {})].join('\n');
      expect(said).toMatch(/127\.0\.0\.1/);
      expect(said).not.toMatch(/0\.0\.0\.0|bind[^\n]*\*/);
    }
  });

  it('tells an address of each server, with a port that is listened on', () => {
    for (const [name, value] of Object.entries(urlsOf(layout)))
      for (const url of value.split(','))
        expect({ name, port: Number(new URL(url).port) }).toSatisfy((said: { port: number }) =>
          ports.includes(said.port),
        );
  });

  it('knows when each is ready', () => {
    for (const plan of plans) expect(plan.ports).toContain(plan.probe?.port);
  });
});

describe('env', () => {
  it('has one line each', () => {
    expect(envText(urlsOf(single))).toBe(`DATABASE_URL=postgres://postgres@127.0.0.1:21432/postgres
MARIADB_URL=mysql://root@127.0.0.1:21306/
REDIS_URL=redis://127.0.0.1:21379
RABBITMQ_URL=amqp://guest:guest@127.0.0.1:21672
KAFKA_URL=kafka://127.0.0.1:21092
ZOOKEEPER_URL=zookeeper://127.0.0.1:21181
`);
  });

  it('names the other nodes of a cluster beside the first', () => {
    const { RABBITMQ_URL, RABBITMQ_CLUSTER_URLS, KAFKA_CLUSTER_URLS } = urlsOf(cluster);
    expect(RABBITMQ_URL).toBe(urlsOf(single)['RABBITMQ_URL']);
    expect(RABBITMQ_CLUSTER_URLS?.split(',')).toHaveLength(3);
    expect(KAFKA_CLUSTER_URLS).toBe(
      'kafka://127.0.0.1:21092,kafka://127.0.0.1:21093,kafka://127.0.0.1:21094',
    );
  });
});

describe('arguments', () => {
  it('of Redis', () => {
    expect(planOf(single, 'redis').args).toEqual(
      '--port 21379 --bind 127.0.0.1 --dir /tmp/there/data/redis --appendonly yes --daemonize no'.split(' '),
    );
  });

  it('change the user of MariaDB only as root', () => {
    expect(planOf(single, 'mariadb').args).toContain('--user=mysql');
    expect(planOf({ ...single, asRoot: false }, 'mariadb').args.join(' ')).not.toContain('--user');
  });

  it('of Kafka replicate what can be, and ask for a majority', () => {
    const settings = (layout: Layout, name: string): string =>
      Object.entries(planOf(layout, name).files ?? {}).find(([path]) => path.endsWith('.properties'))![1];
    expect(settings(cluster, 'kafka-2')).toContain(
      'controller.quorum.voters=1@127.0.0.1:21112,2@127.0.0.1:21113,3@127.0.0.1:21114\n',
    );
    expect(settings(cluster, 'kafka-2')).toContain('node.id=2\n');
    expect(settings(cluster, 'kafka-2')).toContain('\nmin.insync.replicas=2\n');
    expect(settings(single, 'kafka')).toContain('offsets.topic.replication.factor=1\n');
  });
});

describe('nodes of a RabbitMQ cluster', () => {
  const names = (hasData: boolean) =>
    wavesOf('rabbitmq', cluster, hasData).map((wave) => wave.map(({ name }) => name));

  it('wait for the first on their first start, because two that see nobody found a cluster each', () => {
    expect(names(false)).toEqual([['epmd'], ['rabbitmq-1'], ['rabbitmq-2', 'rabbitmq-3']]);
  });

  it('come together when started again, because the first may wait for the others', () => {
    expect(names(true)).toEqual([['epmd'], ['rabbitmq-1', 'rabbitmq-2', 'rabbitmq-3']]);
  });
});

describe('readiness', () => {
  const isReady = (name: string, reply: string | number[]): boolean =>
    planOf(cluster, name).probe!.isReady(Buffer.from(reply as string, 'latin1'));

  it.each([
    ['redis', '+PONG\r\n', '-LOADING Redis is loading the dataset in memory\r\n'],
    ['postgres', 'R\0\0\0\x08\0\0\0\0', 'E\0\0\0\x40SFATAL\0C57P03\0'],
    ['mariadb', 'Z\0\0\0\x0a5.5.5-10.11', 'E\0\0\0\xff\x10\x04Too many connections'],
    ['rabbitmq-1', '\x01\0\0\0\0\x01', 'AMQP\0\0\x09\x01'],
    ['kafka-1', '\0\0\0\x40\0\0\0\x01\0\0\0\x03', '\0\0\0\x40\0\0\0\x01\0\0\0\x02'],
    ['epmd', '\0\0\x53\x79', '\0\0\x11\x11'],
    ['zookeeper', 'imok', 'This ZooKeeper instance is not currently serving requests\n'],
  ])('of %s is told from its answer', (name, ready, notYet) => {
    expect(isReady(name, ready)).toBe(true);
    expect(isReady(name, notYet)).toBe(false);
    expect(isReady(name, '')).toBe(false);
  });
});

describe('programs', () => {
  it('are found on PATH and in the folders beside it, or named as missing', () => {
    expect(findProgram('sh', [])).toMatch(/\/sh$/);
    expect(findPrograms({ sh: [], 'no-such-server': ['/nowhere/*/bin'] })).toEqual({
      missing: ['no-such-server'],
    });
  });

  it('that are missing come with what to do, in one sentence per server', () => {
    const text = missingText(serversByName.redis, ['redis-server']);
    expect(text).toMatch(/^redis: redis-server not found\. .*apt-get install redis-server.*compose\.yaml$/);
    expect(text).not.toContain('\n');
  });
});

it('brings the version of Kafka that it names', () => {
  const pom = readFileSync(new URL('kafka-server.xml', import.meta.url), 'utf8');
  const versions = [...pom.matchAll(/org\.apache\.kafka[\s\S]*?<version>([^<]+)</g)].map(
    ([, found]) => found,
  );
  expect(versions).toEqual([kafkaVersion, kafkaVersion]);
});
