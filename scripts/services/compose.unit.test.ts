// compose.yaml says the same as services:up: same servers, same addresses, same settings of Kafka. It is read here, not run.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseDocument } from 'yaml';
import { kafkaVersion } from './kafka-jars.ts';
import { firstPortByDefault } from './ports.ts';
import { type Layout, type ProcessPlan, type ServerName, serverNames } from './server.ts';
import { serversByName } from './servers.ts';

interface Service {
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports: readonly string[];
  readonly healthcheck: { readonly test: readonly string[] };
}

const document = parseDocument(readFileSync(new URL('../../compose.yaml', import.meta.url), 'utf8'), {
  strict: true,
  uniqueKeys: true,
});
const { services } = document.toJS() as { readonly services: Readonly<Record<ServerName, Service>> };

const layout: Layout = { folder: '/data', firstPort: firstPortByDefault, cluster: false, asRoot: false };
const planOf = (name: ServerName): ProcessPlan =>
  serversByName[name].waves(layout, { 'rabbitmq-server': '' }, false).at(-1)![0]!;

describe('compose.yaml', () => {
  it('is well-formed, and has the servers of services:up', () => {
    expect([...document.errors, ...document.warnings]).toEqual([]);
    expect(Object.keys(services)).toEqual(serverNames);
  });

  it.each(serverNames)(
    'gives %s the address of services:up, on loopback only, with a named version',
    (name) => {
      const service = services[name];
      const [url] = Object.values(serversByName[name].urls(layout));
      expect(service.ports).toHaveLength(1);
      expect(service.ports[0]).toMatch(new RegExp(`^127\\.0\\.0\\.1:${new URL(url!).port}:\\d+$`));
      expect(service.image).toMatch(/:\d/);
      expect(service.healthcheck.test.length).toBeGreaterThan(1);
    },
  );

  it('starts PostgreSQL and Redis with the same settings', () => {
    const settings = planOf('postgres').args.filter((argument) =>
      /^(max_connections|wal_level)=/.test(argument),
    );
    expect(settings).toHaveLength(2);
    expect(services.postgres.command).toEqual(expect.arrayContaining(settings));
    expect(services.redis.command?.join(' ')).toContain('--appendonly yes');
  });

  it('starts the same Kafka', () => {
    expect(services.kafka.image).toBe(`apache/kafka:${kafkaVersion}`);
    const [, properties] = Object.entries(planOf('kafka').files!).find(([path]) =>
      path.endsWith('.properties'),
    )!;
    // Where the data lies is the image's own business; inside it listens on every address.
    const ours = properties
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const)
      .filter(([name]) => name !== 'log.dirs' && name !== 'listeners')
      .map(([name, value]) => [`KAFKA_${name.toUpperCase().replaceAll('.', '_')}`, value]);
    expect(services.kafka.environment).toMatchObject(Object.fromEntries(ours));
  });
});
