import { expect, it } from 'vitest';
import { refuseWithoutSqlite } from './sqlite-present.ts';

it('names the Node that is needed where node:sqlite is not there', () => {
  expect(() => refuseWithoutSqlite('the embedded engine', () => false, 'v20.20.2')).toThrow(
    expect.objectContaining({
      code: 'DB_MSG_PEER_MISSING',
      message: expect.stringMatching(/embedded engine needs Node 24 or newer.*v20\.20\.2/),
    }),
  );
});

it('lets this Node pass', () => {
  expect(() => refuseWithoutSqlite('the embedded engine')).not.toThrow();
});
