/**
 * The Redis engine against the suite that every engine has to pass, on the server that REDIS_URL names. What is about order runs a second time without shards, as on channels with
 * priorities and on those that were made before there were shards.
 */
import { describe, expect, it } from 'vitest';
import { capabilitiesOf, registerCases, testEngine } from '../../conformance/suite.ts';
import { openClient } from '../../redis/client.ts';
import { redisFixture } from './conformance-fixture.ts';

const url = process.env['REDIS_URL'];

describe.skipIf(!url)('on a real Redis server (set REDIS_URL to run it)', { timeout: 60_000 }, async () => {
  const create = redisFixture(url ?? '');
  const cases = url
    ? await capabilitiesOf(create).then(({ capabilities, traits }) =>
        testEngine('redis', capabilities, create, traits),
      )
    : [];

  registerCases(it, cases);

  it('everything applies but broadcast, native routing, and the restart that own-server.int.test.ts does', () => {
    const left = cases.flatMap(({ name, notApplicable }) => (notApplicable ? [name] : []));
    expect(left).toEqual([
      'redis: broadcast: two consumers of one subscription both hear what is said, and who comes later only what is said then',
      'redis: what waits keeps the bindings under which it was published',
      'redis: a message that no binding takes is refused by name, and arrives nowhere, not even later',
      'redis: a server that is killed under load loses nothing it confirmed, and everybody comes back by himself',
    ]);
  });

  const ofOrder = /key|order|sequenc|park/;
  const without = redisFixture(url ?? '', openClient, { shards: 0 });
  registerCases(
    it,
    url
      ? await capabilitiesOf(without).then(({ capabilities, traits }) =>
          testEngine('redis without shards', capabilities, without, traits).filter(
            ({ name, notApplicable }) => ofOrder.test(name) && notApplicable === undefined,
          ),
        )
      : [],
  );
});
