/** What is told of where a server is: host and port as they were given, and never a part of a secret. */
import { describe, expect, it } from 'vitest';
import { serverOf } from './server-address.ts';

describe('of an address', () => {
  it.each([
    ['amqp://broker.example', { address: 'broker.example', port: 5672 }],
    ['amqp://user:secret@broker.example:7000/shop?heartbeat=5', { address: 'broker.example', port: 7000 }],
    ['redis://:secret@10.1.2.80/3', { address: '10.1.2.80', port: 5672 }],
    ['kafka://[::1]:9093', { address: '::1', port: 9093 }],
  ])('%s', (url, server) => {
    expect(serverOf([url], 5672)).toEqual(server);
  });
});

describe('nothing is told', () => {
  it.each([
    [[], 'no address'],
    [['amqp:///shop'], 'no host'],
    [['broker.example'], 'no URL'],
    [['amqp://one', 'amqp://two'], 'no one of several'],
    [['amqp://user:12/secret@broker.example'], 'a password with a slash'],
    [['amqp://user:12#secret@broker.example'], 'a password with a hash'],
    [['amqp://user:12?secret@broker.example'], 'a password with a question mark'],
  ])('of %j: %s', (urls) => {
    expect(serverOf(urls, 5672)).toBeUndefined();
  });
});
