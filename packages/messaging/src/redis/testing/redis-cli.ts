/** For tests: the real redis-cli, as operators and other languages stand beside us, and a bus on a channel that collects what it is handed. */
import { execFileSync, spawnSync } from 'node:child_process';
import { type Bus, createBus } from '../../bus.ts';
import type { Channel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { Collector } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { ack } from '../../outcome.ts';

export const hasRedisCli = spawnSync('redis-cli', ['--version']).status === 0;

export interface RedisCli {
  /** Of all that is made here. */
  readonly prefix: string;
  /** Runs one command and returns what it prints. */
  readonly run: (...args: readonly string[]) => string;
  readonly clean: () => void;
}

export function redisCliOn(url: string): RedisCli {
  const prefix = `cli-${createIds(systemClock).next()}`;
  const run = (...args: readonly string[]): string =>
    execFileSync('redis-cli', ['-u', url, '--raw', ...args], { encoding: 'utf8' }).trim();
  return {
    prefix,
    run,
    clean() {
      const keys = run('--scan', '--pattern', `${prefix}:*`).split('\n').filter(Boolean);
      if (keys.length > 0) run('DEL', ...keys);
    },
  };
}

/** What somebody writes by hand who knows CloudEvents and nothing of us. */
export const eventOf = ({ name }: Channel, more: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({ specversion: '1.0', id: 'from-cli', type: name, source: '/cli', data: { n: 1 }, ...more });

/** Ids of what comes to the subscription `one`. */
export async function collecting(
  engine: Engine,
  channel: Channel,
): Promise<{ readonly bus: Bus; readonly got: Collector<string> }> {
  const bus = createBus({ engine, source: '/cli' });
  const got = new Collector<string>();
  bus.declare([channel]);
  bus.subscribe(channel, {
    name: 'one',
    handler: ({ id }) => {
      got.add(id);
      return ack();
    },
  });
  await bus.start();
  return { bus, got };
}
