/** Files of former versions: a real one, dumped as it was left by SIGKILL, has to open with everything in it. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { Collector } from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { createEmbeddedEngine } from './engine.ts';

const schema = Type.Object({ n: Type.Integer() });
const numbers = defineChannel({
  name: 'numbers',
  version: 1,
  schema,
  requires: { delay: { maxMs: 1_000 }, replay: { keepMs: 60_000 } },
});
const keyed = defineChannel({ name: 'keyed', version: 1, schema, order: 'key' });
let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'embedded-'));
  path = join(folder, 'bus.db');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function versionOf(file: string): number {
  const db = new DatabaseSync(file);
  const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number };
  db.close();
  return version;
}

describe('a file of schema 1', () => {
  it('opens with its backlog, what was handed out, retries, delays and dead letters, and learns the new things', async () => {
    const db = new DatabaseSync(path);
    db.exec(readFileSync(new URL('./former-schema-1.sql', import.meta.url), 'utf8'));
    db.close();
    expect(versionOf(path)).toBe(1);
    const bus = createBus({ engine: createEmbeddedEngine({ path }), source: '/test' });
    bus.declare([numbers, keyed]);
    const got = new Collector<[number, number]>();
    const sequence = new Collector<number>();
    const one = bus.subscribe(numbers, {
      name: 'one',
      handler: ({ data }, { attempt }) => {
        got.add([data.n, attempt]);
        return ack();
      },
    });
    bus.subscribe(keyed, {
      name: 'one',
      handler: ({ data }) => {
        sequence.add(data.n);
        return ack();
      },
    });
    await bus.start();
    await got.waitFor(7);
    // 3 was retried, 4 and 5 were out when the process was killed, 9 was delayed.
    expect(new Map(got.values)).toEqual(
      new Map([
        [3, 2],
        [4, 2],
        [5, 2],
        [6, 1],
        [7, 1],
        [8, 1],
        [9, 1],
      ]),
    );
    expect((await bus.deadLetters.redrive({ key: 'a' })).moved).toBe(2);
    await sequence.waitFor(2);
    expect(sequence.values).toEqual([2, 3]);
    expect((await bus.deadLetters.list()).map(({ reason }) => reason)).toEqual(['two is broken']);
    await one.stop();
    await bus.rewind(numbers, 'one', 'earliest');
    expect((await bus.peek(numbers, 'one')).map(({ message }) => message?.data)).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => ({ n })),
    );
    await bus.stop();
    expect(versionOf(path)).toBe(2);
  });
});

describe('a file of a later schema', () => {
  it('is refused and left as it is', async () => {
    const db = new DatabaseSync(path);
    db.exec('PRAGMA user_version = 99');
    db.close();
    const bus = createBus({ engine: createEmbeddedEngine({ path }), source: '/test' });
    await expect(bus.start()).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNSAFE' });
    expect(versionOf(path)).toBe(99);
  });
});
