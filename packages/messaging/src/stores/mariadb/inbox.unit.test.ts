/** A repeat is recognised in the error of whatever client or query builder runs the insert; without a server. */
import { expect, it } from 'vitest';
import { alreadyHandledInMariadb, type MariadbClient } from './store.ts';

const entry = { subscription: 's', messageId: 'm', now: 1 };
const errorWith = (fields: object, cause?: unknown): Error =>
  Object.assign(new Error('x', cause === undefined ? {} : { cause }), fields);
const failing = (error: Error): MariadbClient => ({
  query: async (text) => {
    if (text.startsWith('INSERT')) throw error;
    return [[]];
  },
});
const duplicate = errorWith({ code: 'ER_DUP_ENTRY', errno: 1062, sqlState: '23000' });

it.each([
  ['mysql2', duplicate],
  ['a query builder', errorWith({ query: 'INSERT', params: [] }, duplicate)],
  [
    'Sequelize',
    errorWith({ name: 'SequelizeUniqueConstraintError', parent: duplicate, original: duplicate }),
  ],
])('%s: an id that is noted is a repeat', async (_name, error) => {
  expect(await alreadyHandledInMariadb(failing(error), entry)).toBe(true);
});

it('every other error stays what it is', async () => {
  const missing = errorWith({ code: 'ER_NO_SUCH_TABLE', errno: 1146 });
  const wrapped = errorWith({ name: 'SequelizeDatabaseError', parent: missing, original: missing });
  for (const error of [missing, wrapped])
    await expect(alreadyHandledInMariadb(failing(error), entry)).rejects.toBe(error);
});
