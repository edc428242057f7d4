import { DatabaseSync } from 'node:sqlite';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openInProcessLedger } from '../ledgers/sqlite/in-process.ts';
import { type Fixture, openFixture } from './app-fixture.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
  });
});
afterAll(() => fixture.close());

describe('a path that exists, asked with a method that it has not', () => {
  it.each([
    ['DELETE', '/v1/campaigns/gift/entries', 'POST'],
    ['GET', '/v1/campaigns/gift/sessions?x=1', 'POST'],
    ['POST', '/v1/campaigns/gift/status', 'GET, HEAD'],
    ['PUT', '/livez', 'GET, HEAD'],
    ['TRACE', '/c/gift', 'GET, HEAD'],
    // A stream has no HEAD.
    ['HEAD', '/v1/campaigns/gift/live', 'GET'],
  ])('%s %s: 405, Allow: %s', async (method, url, allow) => {
    const answer = await fixture.app.inject({ method: method as 'GET', url });
    expect([answer.statusCode, answer.headers['allow']]).toEqual([405, allow]);
    const { code } = method === 'HEAD' ? { code: 'method-not-allowed' } : answer.json<{ code: string }>();
    expect(code).toBe('method-not-allowed');
  });

  it.each([
    ['PUT', 'x/y'],
    ['QUERY', undefined],
    ['PATCH', 'application/json'],
  ])('%s with a body of type %s that cannot be read: 405 all the same', async (method, type) => {
    const answer = await fixture.app.inject({
      method: method as 'PUT',
      url: '/livez',
      payload: '{',
      headers: type === undefined ? {} : { 'content-type': type },
    });
    expect([answer.statusCode, answer.headers['allow']]).toEqual([405, 'GET, HEAD']);
  });

  it.each([
    ['GET', '/nothing'],
    ['DELETE', '/v1/campaigns/gift/nothing'],
    ['POST', '/livez/'],
    ['OPTIONS', '/nothing'],
    ['GET', '/v1/campaignsXgift'],
  ])('%s %s: there is nothing, and it is said so', async (method, url) => {
    const answer = await fixture.app.inject({ method: method as 'GET', url });
    expect([answer.statusCode, answer.headers['allow']]).toEqual([404, undefined]);
    expect(answer.json()).toMatchObject({ code: 'not-found' });
  });
});
