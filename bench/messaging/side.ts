/**
 * One system measured in one phase, as a process of its own (`side.ts` is what the bench starts). The measuring begins on a machine that rests (`quiet.ts`).
 *
 * `publish`: so many publishes are in flight all the time, each next one as soon as one is confirmed; those confirmed between the end of the warm-up and the
 * end of the run count. `consume`: the messages are stored first; the clock runs from the handling of the one that ends the warm-up to that of the last one that
 * counts. Some are left behind it, so that the reader never runs dry while it is timed. What is handled is acknowledged right then, and no more than the
 * prefetch is ever unacknowledged: the rate of handling is the rate of acknowledging. With keys, one that comes after a later one of its key ends the run.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { optionsOf, say, told } from '../child-process.ts';
import { type Contender, type ContenderSetting, keyNumberOf, keys, type OpenContender } from './contender.ts';
import { quiet } from './quiet.ts';
import type { Phase, SystemName } from './systems.ts';

export interface SideOptions {
  readonly system: SystemName;
  readonly phase: Phase;
  readonly setting: ContenderSetting;
  readonly inFlight: number;
  /** Longest wait for the machine to rest. */
  readonly restMs: number;
  readonly warmUpMs: number;
  readonly runMs: number;
  /** For `consume`: what is stored at first, and how much of it is warm-up. */
  readonly stored: number;
  readonly warmUpMessages: number;
}

export interface Measured {
  readonly messages: number;
  readonly elapsedMs: number;
  readonly perSecond: number;
  /** Processor time of this process with all its threads, user and system. */
  readonly cpuMicros: number;
}

/** Loaded by name, so that a process has only what it measures in memory. */
async function openerOf(system: SystemName): Promise<OpenContender> {
  const [kind, engine = '', keyed] = system.split('-');
  if (kind === 'toolkit') return (await import('./contenders/toolkit.ts')).openToolkit(engine);
  if (kind === 'bullmq') return (await import('./contenders/bullmq.ts')).openBullmq;
  if (kind === 'graphile') return (await import('./contenders/graphile.ts')).openGraphile;
  if (engine === 'rabbitmq' && keyed)
    return (await import('./contenders/rabbitmq-keyed.ts')).openRabbitmqKeyed;
  if (engine === 'redis' && keyed) return (await import('./contenders/redis-keyed.ts')).openRedisKeyed;
  if (engine === 'rabbitmq') return (await import('./contenders/rabbitmq.ts')).openRabbitmq;
  if (engine === 'kafka') return (await import('./contenders/kafka.ts')).openKafka;
  if (engine === 'redis') return (await import('./contenders/redis.ts')).openRedis;
  return (await import('./contenders/embedded.ts')).openEmbedded;
}

class Stopwatch {
  #at = 0;
  #cpu = process.cpuUsage();

  start(): void {
    this.#at = performance.now();
    this.#cpu = process.cpuUsage();
  }

  stop(messages: number): Measured {
    const elapsedMs = performance.now() - this.#at;
    const { user, system } = process.cpuUsage(this.#cpu);
    const perSecond = Math.round((messages / elapsedMs) * 1000);
    return { messages, elapsedMs, perSecond, cpuMicros: (user + system) / Math.max(1, messages) };
  }
}

async function rest({ restMs, system, phase }: SideOptions): Promise<void> {
  if (restMs > 0 && !(await quiet(restMs)))
    process.stderr.write(
      `${system} ${phase}: this machine did not rest within ${restMs / 1000} s, and is measured as it is\n`,
    );
}

async function publish(contender: Contender, options: SideOptions): Promise<Measured> {
  let next = 0;
  let confirmed = 0;
  let stopped = false;
  async function loop(): Promise<void> {
    while (!stopped) {
      await contender.publish(next++);
      confirmed += 1;
    }
  }
  await rest(options);
  const loops = Promise.all(Array.from({ length: options.inFlight }, loop));
  // Whoever waits for the clock must not miss that a publish failed.
  const timed = async (ms: number): Promise<unknown> => Promise.race([sleep(ms), loops]);
  const watch = new Stopwatch();
  await timed(options.warmUpMs);
  watch.start();
  confirmed = 0;
  // Once as a rule. A short run on a busy machine may end before anything was confirmed, and would be no measurement.
  while (confirmed === 0) await timed(options.runMs);
  const measured = watch.stop(confirmed);
  stopped = true;
  await loops;
  return measured;
}

async function consume(contender: Contender, options: SideOptions): Promise<Measured> {
  const { stored, warmUpMessages, runMs, setting } = options;
  const last = stored - 2 * setting.prefetch;
  await contender.fill(stored);
  await rest(options);
  const seen = new Uint8Array(stored);
  const lastOfKey = new Int32Array(keys).fill(-1);
  let handled = 0;
  const { promise, resolve, reject } = Promise.withResolvers<Measured>();
  const watch = new Stopwatch();
  let end = Number.POSITIVE_INFINITY;
  await contender.consume((n) => {
    if (seen[n] !== 0) return reject(new Error(`message ${n} came twice, or was never stored`));
    seen[n] = 1;
    if (setting.keyed) {
      const key = keyNumberOf(n);
      if ((lastOfKey[key] as number) > n)
        return reject(new Error(`message ${n} came after a later one of its key`));
      lastOfKey[key] = n;
    }
    handled += 1;
    if (handled === warmUpMessages) {
      watch.start();
      end = performance.now() + runMs;
    } else if (handled === last || (handled % 256 === 0 && performance.now() > end)) {
      resolve(watch.stop(handled - warmUpMessages));
      end = Number.POSITIVE_INFINITY;
    }
  });
  return promise;
}

async function main(): Promise<void> {
  const options = optionsOf<SideOptions>();
  const contender = await (await openerOf(options.system))(options.setting);
  const measured = await { publish, consume }[options.phase](contender, options);
  await say(measured);
  await contender.close();
  await told();
}

await main();
process.exit(0);
