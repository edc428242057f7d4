/** A store by its address: what is refused, and what is missing, in words that say what to do. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../clock.ts';
import { engineFromUrl } from '../engine-from-url.ts';
import { openSqlStore, sqlStoreLoadedBy } from './open.ts';

const missing = (name: string) => async (): Promise<never> => {
  throw Object.assign(new Error(`Cannot find package '${name}' imported from x`), {
    code: 'ERR_MODULE_NOT_FOUND',
  });
};

it.each([
  ['postgres://localhost/shop', 'npm install pg'],
  ['mariadb://localhost/shop', 'npm install mysql2'],
])('%s without its client says: %s', async (address, words) => {
  const load = { pg: missing('pg'), mysql2: missing('mysql2') };
  await expect(sqlStoreLoadedBy(load, address)).rejects.toMatchObject({
    code: 'DB_MSG_PEER_MISSING',
    message: expect.stringContaining(words),
  });
});

it('lets the faults of a client that is there through', async () => {
  const load = { pg: missing('pg-types'), mysql2: missing('mysql2') };
  await expect(sqlStoreLoadedBy(load, 'postgres://localhost/shop')).rejects.toMatchObject({
    code: 'ERR_MODULE_NOT_FOUND',
  });
});

it.each(['sqlite:', 'sqlite://', 'oracle://host'])('refuses %s', async (address) => {
  await expect(openSqlStore(address)).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
});

it.each([
  'postgres://user:secret%zz@localhost/shop',
  'mysql://user:secret%zz@localhost/shop',
  'postgres://user:secret#1@localhost/shop',
])('refuses an address that cannot be read, without showing its password: %s', async (address) => {
  const error: unknown = await openSqlStore(address).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
  expect(inspect(error)).not.toContain('secret');
});

it('takes the path of a SQLite file as the engine of the same URL does', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'open-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  await (await openSqlStore(`sqlite:${folder}/a%20b%3F.db`)).close();
  expect(readdirSync(folder)).toEqual(['a b?.db']);
  const engine = await engineFromUrl(`sqlite:${folder}/a%20b%3F.db`);
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  await connection.close();
  expect(readdirSync(folder).filter((name) => name.endsWith('.db'))).toEqual(['a b?.db']);
  for (const name of ['a%zz.db', 'a.db?share=true'])
    await expect(openSqlStore(`sqlite:${folder}/${name}`)).rejects.toMatchObject({
      code: 'DB_MSG_INVALID_OPTIONS',
    });
  expect(readdirSync(folder).filter((name) => name.endsWith('.db'))).toEqual(['a b?.db']);
});

it.each(['sqlite::memory:', 'postgres://localhost/shop'])('opens %s', async (address) => {
  const store = await openSqlStore(address);
  await expect(store.close()).resolves.toBeUndefined();
});
