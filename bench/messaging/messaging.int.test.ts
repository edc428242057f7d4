import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { median, medianRatio, type Report, reportOf, type RoundRuns, tableOf } from './report.ts';
import { hasRedisProgram } from './servers.ts';
import type { Measured } from './side.ts';
import type { EngineName } from './systems.ts';

const run = promisify(execFile);
const main = fileURLToPath(new URL('main.ts', import.meta.url));
const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];

async function bench(...args: string[]): Promise<Report> {
  const { stdout } = await run(process.execPath, [...flags, main, '--quick', '--json', ...args]);
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Report;
}

const isThere = (engine: string): boolean =>
  existsSync(new URL(`../../packages/messaging/src/engines/${engine}/engine.ts`, import.meta.url));

const every = { rabbitmq: 'RABBITMQ_URL', kafka: 'KAFKA_URL', redis: 'REDIS_URL' } as const;

describe('bench:messaging --quick', () => {
  for (const [engine, variable] of Object.entries(every))
    it.skipIf(!process.env[variable] || !isThere(engine))(
      `measures ${engine} and its bare client (needs ${variable})`,
      { timeout: 240_000 },
      async () => {
        const { ratios } = await bench(engine);
        expect(ratios[engine as EngineName]?.['publish']).toBeGreaterThan(0);
        expect(ratios[engine as EngineName]?.['consume']).toBeGreaterThan(0);
      },
    );

  it.skipIf(!process.env['DATABASE_URL'] || !hasRedisProgram())(
    'measures the embedded engine, its floor and two job queues (needs DATABASE_URL and redis-server)',
    { timeout: 240_000 },
    async () => {
      const { ratios, medians, settings, commit } = await bench('embedded');
      expect(Object.keys(ratios.embedded ?? {})).toEqual([
        'publish',
        'consume',
        'overBullmqPublish',
        'overBullmqConsume',
        'overBullmqAlwaysPublish',
        'overBullmqAlwaysConsume',
        'overGraphilePublish',
        'overGraphileConsume',
      ]);
      for (const ratio of Object.values(ratios.embedded ?? {})) expect(ratio).toBeGreaterThan(0);
      expect(medians['bullmq-always']?.publishPerSecond).toBeGreaterThan(0);
      expect(settings['graphile']).toContain('localQueue');
      expect(commit).toMatch(/^[0-9a-f]{10}$|^unknown$/);
    },
  );

  it.skipIf(!process.env['REDIS_URL'])(
    'measures messages with keys (needs REDIS_URL)',
    { timeout: 240_000 },
    async () => {
      const { ratios } = await bench('--keyed-only', 'redis', 'embedded');
      for (const engine of ['redis', 'embedded'] as const)
        expect(ratios.keyed?.[engine]?.['consume']).toBeGreaterThan(0);
    },
  );

  it('refuses what it does not understand', async () => {
    await expect(bench('nats')).rejects.toMatchObject({ code: 2 });
    await expect(bench('--seconds', 'soon')).rejects.toMatchObject({ code: 2 });
  });

  it('is red when an engine that was named has no server', async () => {
    const env = { ...process.env, REDIS_URL: 'redis://127.0.0.1:1' };
    const measured = run(process.execPath, [...flags, main, '--quick', 'redis'], { env });
    await expect(measured).rejects.toMatchObject({ code: 1 });
  }, 180_000);
});

describe('the report', () => {
  const measured = (perSecond: number): Measured => ({
    messages: 1,
    elapsedMs: 1,
    perSecond,
    cpuMicros: 5,
  });
  const roundOf = (toolkit: number, bare: number): RoundRuns =>
    new Map([
      ['toolkit-redis', { publish: measured(toolkit) }],
      ['bare-redis', { publish: measured(bare) }],
    ]);
  const parts = { notRun: { kafka: 'no server' }, setting: { quick: true, seconds: 1 }, commit: 'unknown' };

  it('takes the median of the ratios of each round, not the ratio of the medians', () => {
    const rounds = [roundOf(10, 100), roundOf(50, 100), roundOf(90, 30)];
    const report = reportOf(['redis'], ['plain'], rounds, parts);
    expect(report.ratios.redis?.['publish']).toBe(0.5);
    expect(report.spread.redis?.['publish']).toEqual([0.1, 3]);
    expect(report.medians['toolkit-redis']?.publishPerSecond).toBe(50);
    expect(report.ratios.redis?.['consume']).toBeNull();
    expect(tableOf(report)).toContain('not run: kafka: no server');
  });

  it('names the ratios that are below what is wanted', () => {
    const slow = reportOf(['redis'], ['plain'], [roundOf(89, 100)], parts);
    expect(slow.below).toEqual(['redis publish 0.89, at least 0.9']);
    expect(tableOf(slow)).toContain('below what is wanted: redis publish 0.89, at least 0.9');
    expect(reportOf(['redis'], ['plain'], [roundOf(90, 100)], parts).below).toEqual([]);
    const queue = (toolkit: number): RoundRuns =>
      new Map([
        ['toolkit-embedded', { consume: measured(toolkit) }],
        ['graphile', { consume: measured(100) }],
      ]);
    const { below } = reportOf(['embedded'], ['plain'], [queue(199)], parts);
    expect(below).toEqual(['embedded overGraphileConsume 1.99, at least 2']);
    expect(reportOf(['embedded'], ['plain'], [queue(200)], parts).below).toEqual([]);
  });

  it('has messages with keys beside those without, under names of their own', () => {
    const rounds: RoundRuns[] = [
      new Map([
        ...roundOf(10, 100),
        ['toolkit-redis-keyed', { publish: measured(30) }],
        ['bare-redis-keyed', { publish: measured(60) }],
      ]),
    ];
    expect(reportOf(['redis'], ['plain'], rounds, parts).ratios).not.toHaveProperty('keyed');
    const both = reportOf(['redis'], ['plain', 'keyed'], rounds, parts);
    expect(both.ratios).toEqual({
      redis: { publish: 0.1, consume: null },
      keyed: { redis: { publish: 0.5, consume: null } },
    });
    expect(tableOf(both)).toContain('keyed publish');
    expect(both.medians['toolkit-redis-keyed']?.publishCpuMicros).toBe(5);
    expect(Object.keys(reportOf(['redis'], ['keyed'], rounds, parts).ratios)).toEqual(['keyed']);
  });

  it('has a median of even and of no values', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNull();
    expect(medianRatio([0.5, 2, 0.1, 9])).toBeCloseTo(1);
    expect(medianRatio([0.5, 3, 0.1])).toBeCloseTo(0.5);
    expect(medianRatio([])).toBeNull();
  });
});
