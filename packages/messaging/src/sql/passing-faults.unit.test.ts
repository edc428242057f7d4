import { expect, it } from 'vitest';
import { MessagingError } from '../errors.ts';
import { faultBeforeWork, passingFault } from './passing-faults.ts';

const failure = (signs: object): Error => Object.assign(new Error('no'), signs);
const saying = (message: string): Error => new Error(message);
const postgres = (code: string): Error => failure({ code, severity: 'ERROR' });
const mariadb = (errno: number, code = 'ER_X'): Error => failure({ errno, code, sqlState: 'HY000' });
const sqlite = (errcode: number): Error => failure({ code: 'ERR_SQLITE_ERROR', errcode });

it.each([
  ['a full disk of PostgreSQL', postgres('53100'), 'DB_MSG_ENGINE_FULL'],
  ['a full disk of MariaDB', mariadb(1021), 'DB_MSG_ENGINE_FULL'],
  ['a full table of MariaDB', mariadb(1114), 'DB_MSG_ENGINE_FULL'],
  ['a full disk of SQLite', sqlite(13), 'DB_MSG_ENGINE_FULL'],
  ['a time-out of PostgreSQL', postgres('57014'), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a standby of PostgreSQL', postgres('25006'), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a file of PostgreSQL', postgres('58030'), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a time-out of MariaDB', mariadb(1969), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a time-out of MySQL', mariadb(3024), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a query of MariaDB that was ended', mariadb(1317), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a replica of MariaDB', mariadb(1290), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['an extended code of SQLite', sqlite(10 | (3 << 8)), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a lock of SQLite', sqlite(5), 'DB_MSG_STORE_BUSY'],
  ['a deadlock of PostgreSQL', postgres('40P01'), 'DB_MSG_STORE_BUSY'],
  ['a connection that broke', failure({ code: 'ECONNRESET' }), 'DB_MSG_ENGINE_UNREACHABLE'],
  [
    'what a query builder has wrapped',
    failure({ query: 'SELECT 1', cause: postgres('57014') }),
    'DB_MSG_ENGINE_UNREACHABLE',
  ],
])('%s may pass', (_name, error, code) => {
  const fault = passingFault(error) as MessagingError;
  expect([fault.code, fault.retryable]).toEqual([code, true]);
});

it.each([
  ...['EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND'].map((code) => failure({ code })),
  ...[
    'timeout exceeded when trying to connect',
    'timeout expired',
    'Query read timeout',
    'Queue limit reached.',
    'No connections available.',
    'Connection terminated due to connection timeout',
  ].map(saying),
])('that no connection came about, was free or answered may pass: %o', (error) => {
  expect(passingFault(error)).toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE', retryable: true });
});

it.each([
  ['a missing table of PostgreSQL', postgres('42P01')],
  ['a text that PostgreSQL does not take', postgres('22021')],
  ['a row that PostgreSQL has no room for', postgres('54000')],
  ['a broken constraint of PostgreSQL', postgres('23505')],
  ['a missing table of MariaDB', mariadb(1146)],
  ['a packet that is too large', mariadb(1153, 'ER_NET_PACKET_TOO_LARGE')],
  ['a text that is too long', mariadb(1406)],
  ['a missing table of SQLite', sqlite(1)],
  ['a broken constraint of SQLite', sqlite(19 | (8 << 8))],
  ['a row that SQLite does not take', sqlite(18)],
  ['an error of the application', new TypeError('no such field')],
  ['a sign of other software', failure({ code: '57014' })],
  ['a number of other software', failure({ errno: 1317 })],
  ['what is told by the catalogue', new MessagingError('DB_MSG_INVALID_OPTIONS', 'no')],
  ['words of the application', saying('the gateway: timeout exceeded when trying to connect')],
  ['a password that PostgreSQL does not know', postgres('28P01')],
  ['no error at all', 'no'],
])('%s is for good', (_name, error) => {
  const fault = passingFault(error);
  expect(fault).toBe(error);
});

it.each([
  ['a password that PostgreSQL does not know', postgres('28P01'), 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a pool that is closed', saying('Pool is closed.'), 'DB_MSG_ENGINE_UNREACHABLE'],
  [
    'what is told by the catalogue',
    new MessagingError('DB_MSG_INVALID_OPTIONS', 'no'),
    'DB_MSG_ENGINE_UNREACHABLE',
  ],
  ['no error at all', 'no', 'DB_MSG_ENGINE_UNREACHABLE'],
  ['a lock of SQLite', sqlite(5), 'DB_MSG_STORE_BUSY'],
  ['a full disk of PostgreSQL', postgres('53100'), 'DB_MSG_ENGINE_FULL'],
])('before any work %s may pass', (_name, error, code) => {
  const { retryable, code: told } = faultBeforeWork(error);
  expect([told, retryable]).toEqual([code, true]);
});
