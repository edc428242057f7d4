/** Bindings on record, and what others put in their place. */
import { expect, it } from 'vitest';
import type { KafkaNotice } from './options.ts';
import { looseRecord } from './log-record.ts';
import { bindingsIn, Registry } from './registry.ts';

const name = { channel: 'orders', name: 'mail' };
const KEY = '["orders","mail"]';

interface Written {
  readonly key: string;
  readonly value: string | undefined;
}

/** A registry on a log that is a list; what it sends is appended. */
function registryOn(log: Written[]) {
  const notices: KafkaNotice[] = [];
  const registry = new Registry({
    topic: 'registry',
    logs: {
      ends: async () => [log.length],
      async read(_topic, _partition, from, to, visit) {
        const records = log.slice(from, to).map(({ key, value }, index) => {
          const wire = { key: Buffer.from(key), value: value === undefined ? null : Buffer.from(value) };
          return Object.assign(looseRecord({ ...wire, headers: [] }), { offset: from + index, timestamp: 0 });
        });
        visit(records, to);
      },
    },
    publisher: {
      async send(_topic, items) {
        for (const { parcel } of items)
          log.push({ key: String(parcel.key), value: parcel.value?.toString() });
        return [];
      },
    },
    onNotice: (notice) => notices.push(notice),
  });
  return { registry, notices };
}

it.each(['', 'hello', 'null', '{}', '5', '[5]', '["a", null]', '[{"match":"all"}]'])(
  '%s is no record of bindings',
  (text) => {
    expect(bindingsIn(text)).toBeUndefined();
  },
);

it.each(['[]', '["a.*"]', '[{"match":"all","headers":{"a":"b"}}]'])('%s is one', (text) => {
  expect(bindingsIn(text)).toEqual(JSON.parse(text));
});

it('what is no record leaves in force what was known, and is told of', async () => {
  const log: Written[] = [{ key: KEY, value: '["a"]' }];
  const { registry, notices } = registryOn(log);
  await registry.refresh();
  log.push({ key: KEY, value: 'hello' });
  await registry.refresh();
  expect(registry.bindingsOf(name)).toEqual(['a']);
  expect(notices).toEqual([
    { kind: 'unreadableBindings', channel: 'orders', subscription: 'mail', isKnown: true },
  ]);
});

it('where nothing else is known, nobody knows; nothing on record is no bindings', async () => {
  const { registry, notices } = registryOn([
    { key: KEY, value: '[5]' },
    { key: 'whatever', value: 'hello' },
  ]);
  await registry.refresh();
  expect(registry.bindingsOf(name)).toBeUndefined();
  expect(registry.bindingsOf({ channel: 'orders', name: 'other' })).toEqual([]);
  expect(notices).toMatchObject([{ subscription: 'mail', isKnown: false }]);
});

it('who declares bindings writes them again over what is no record, also where they are the same', async () => {
  const log: Written[] = [];
  const { registry } = registryOn(log);
  await registry.bind(name, ['a']);
  log.push({ key: KEY, value: 'hello' });
  await registry.refresh();
  await registry.bind(name, ['a']);
  await registry.bind(name, ['a']);
  expect(log.map(({ value }) => value)).toEqual(['["a"]', 'hello', '["a"]']);
  const next = registryOn(log);
  await next.registry.refresh();
  expect(next.registry.bindingsOf(name)).toEqual(['a']);
  expect(next.registry.isUnreadable(name)).toBe(false);
});

it('what is no record is forgotten with its subscription', async () => {
  const log: Written[] = [{ key: KEY, value: 'hello' }];
  const { registry } = registryOn(log);
  await registry.refresh();
  await registry.forget(name);
  expect(log.at(-1)).toEqual({ key: KEY, value: undefined });
  expect(registry.bindingsOf(name)).toEqual([]);
});
