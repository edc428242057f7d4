// Brings Kafka's jars (about 54 MB) through Maven, once, into the user's cache folder, where every checkout shares them.

import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runToEnd } from './processes.ts';

export const kafkaVersion = '4.1.0';

const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
export const kafkaJars = join(cache, 'doorbuster', `kafka-server-${kafkaVersion}`);

/** The folder appears with all jars or not at all, so two that start at once cannot see half of it. */
export async function bringKafkaJars(mvn: string): Promise<void> {
  const partial = `${kafkaJars}.${process.pid}`;
  mkdirSync(dirname(kafkaJars), { recursive: true });
  try {
    const pom = fileURLToPath(new URL('kafka-server.xml', import.meta.url));
    const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${partial}`];
    const { ok, output } = await runToEnd(mvn, ['-q', '-B', '-f', pom, ...goal]);
    if (!ok) throw new Error(`Kafka's jars could not be brought:\n${output}`);
    if (!existsSync(kafkaJars)) renameSync(partial, kafkaJars);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}
