/** What the engines on Redis make of the server's replies to a connection. */
import { ErrorReply } from 'redis';
import { expect, it } from 'vitest';
import { redisFaultOf } from './server.ts';

it.each([
  ['WRONGPASS invalid username-password pair or user is disabled.', 'DB_MSG_ENGINE_REFUSED'],
  ['NOAUTH Authentication required.', 'DB_MSG_ENGINE_REFUSED'],
  [
    'ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?',
    'DB_MSG_ENGINE_REFUSED',
  ],
  ['ERR Client sent AUTH, but no password is set', 'DB_MSG_ENGINE_REFUSED'],
  ['ERR DB index is out of range', 'DB_MSG_INVALID_OPTIONS'],
  ['ERR unknown command', 'DB_MSG_ENGINE_FAILED'],
])('%s: %s', (reply, code) => {
  expect(redisFaultOf(new ErrorReply(reply))).toMatchObject({ code, message: `redis: ${reply}` });
});
