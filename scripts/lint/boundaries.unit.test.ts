import { describe, expect, it } from 'vitest';
import { refusalOf } from './boundaries.ts';

const refused: readonly (readonly [why: string, from: string, specifier: string])[] = [
  ['core and node', 'packages/core/src/admit.ts', 'node:crypto'],
  ['core and a package', 'packages/core/src/admit.ts', 'typebox'],
  ['core and a sibling', 'packages/core/src/admit.ts', '@doorbuster/messaging'],
  ['core and a path out of it', 'packages/core/src/admit.ts', '../../messaging/src/bus.ts'],
  ['core, out of src', 'packages/core/src/admit.ts', '../test-data/lane.ts'],
  ['engine to engine', 'packages/messaging/src/engines/embedded/queue.ts', '../rabbitmq/connect.ts'],
  ['engine to engine, deeper', 'packages/messaging/src/engines/embedded/sql/claim.ts', '../../kafka/x.ts'],
  ['ledger to ledger', 'packages/server/src/ledgers/sqlite/writer.ts', '../postgres/lane.ts'],
  ['messenger to messenger, flat files', 'packages/server/src/fulfilment/messengers/smtp.ts', './file.ts'],
  ['source to source', 'packages/server/src/fulfilment/voucher-sources/http.ts', './code-pool/pool.ts'],
  ['server names a ledger outside main.ts', 'packages/server/src/http/app.ts', '../ledgers/sqlite/open.ts'],
  ['server names a bus engine', 'packages/server/src/http/app.ts', '@doorbuster/messaging/engines/embedded'],
  ['messaging names an engine', 'packages/messaging/src/bus.ts', './engines/embedded/engine.ts'],
  ['a package by path', 'packages/server/src/main.ts', '../../messaging/src/bus.ts'],
  ['a package by its files', 'packages/server/src/main.ts', '@doorbuster/core/src/admit.ts'],
  ['web and server', 'packages/web/src/participant/page.ts', '@doorbuster/server'],
  ['web and messaging', 'packages/web/src/participant/page.ts', '@doorbuster/messaging'],
  ['messaging and core', 'packages/messaging/src/bus.ts', '@doorbuster/core'],
  ['a test does not reach into another package', 'packages/web/src/a.unit.test.ts', '@doorbuster/server'],
];

const allowed: readonly (readonly [why: string, from: string, specifier: string])[] = [
  ['core within itself', 'packages/core/src/admit.ts', './lane.ts'],
  ['a test of core and its runner', 'packages/core/src/admit.unit.test.ts', 'vitest'],
  ['an engine and its port', 'packages/messaging/src/engines/embedded/queue.ts', '../../engine.ts'],
  ['an engine within itself', 'packages/messaging/src/engines/embedded/sql/claim.ts', '../store.ts'],
  ['main.ts names a ledger', 'packages/server/src/main.ts', './ledgers/sqlite/open.ts'],
  ['main.ts names a bus engine', 'packages/server/src/main.ts', '@doorbuster/messaging/engines/embedded'],
  ['a test names an engine', 'packages/server/src/http/app.int.test.ts', '../ledgers/sqlite/open.ts'],
  ['server and core', 'packages/server/src/admission/batch.ts', '@doorbuster/core'],
  [
    'the simulation reaches into packages',
    'simulation/main.ts',
    '../packages/server/src/ledgers/sqlite/x.ts',
  ],
];

describe('import boundaries', () => {
  it.each(refused)('refuses: %s', (_why, from, specifier) => {
    expect(refusalOf(from, specifier)).toBeTypeOf('string');
  });

  it.each(allowed)('allows: %s', (_why, from, specifier) => {
    expect(refusalOf(from, specifier)).toBeUndefined();
  });
});
