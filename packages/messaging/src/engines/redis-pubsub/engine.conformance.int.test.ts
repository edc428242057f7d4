/**
 * The broadcast engine against the suite, on the server that REDIS_URL names. Most of the suite is about keeping, and this engine keeps nothing: each case
 * that does not apply says which promise of a durable engine it rests on.
 */
import { describe, expect, it } from 'vitest';
import { capabilitiesOf, registerCases, testEngine } from '../../conformance/suite.ts';
import { broadcastFixture } from './conformance-fixture.ts';

const url = process.env['REDIS_URL'];

const nothingKept = 'nothing is kept: who is not there when a message is published never hears it';
const noLetters = 'there is nowhere to keep a dead letter: it is a notice';
const noCompeting = 'subscribers of one name do not compete: each hears everything';
const noLease = 'there is nobody else to hand a message to, so there are no leases';

/** Beyond what the capabilities say: name of the case -> why it does not apply. */
const notForBroadcast: Readonly<Record<string, string>> = {
  'competing consumers share a subscription; one that leaves gives back what it had': noCompeting,
  'a handler longer than its lease keeps the message by heartbeat': noCompeting,
  'a lost lease is handed out again, counted, and the late settlement of the first holder changes nothing':
    noLease,
  'a batch handler gets what is there in order and settles each by itself': nothingKept,
  'request and reply, a reply that breaks its contract, and a time-out': noLetters,
  'a graceful stop lets handlers finish, and what was not begun is there after a restart': nothingKept,
  'everything survives a restart: backlog, retries with their attempts, dead letters': nothingKept,
  'poison ends as a dead letter with its whole history, and others are not held up': noLetters,
  'redrive by filter keeps the id, links to the dead letter, and a second failure keeps the first history':
    noLetters,
  'a discarded dead letter is gone': noLetters,
  'a payload that is no CloudEvent and one that breaks the contract become dead letters with the reason':
    noLetters,
  'an expiry that is no time expires nothing: the message of a stranger is handled': nothingKept,
  'a foreign CloudEvent with a long header name and one with "_" goes every way with nothing lost':
    nothingKept,
  'upcasters make an old message as new as the contract; a newer one than known is parked': nothingKept,
  'an encoding of bytes goes through unchanged: published, peeked at, retried, handled': nothingKept,
  'layers lie around the handler, the first outermost, and one may answer by itself': noLetters,
  'peek shows what waits, oldest first, without taking it or counting a hand-out': nothingKept,
  'peek shows a payload that is no CloudEvent as it is': nothingKept,
  'peek into a subscription that nobody declared is refused by its name, and makes none': nothingKept,
  'rewind is refused by name where nothing is kept for it, and changes nothing': nothingKept,
  'dead letters are grouped by cause, the largest group first': noLetters,
  'an edited redrive is a new message in the place of the letter, in its subscription only': noLetters,
  'an edited message that fails again is a dead letter with the history of both': noLetters,
  'a malformed letter that has no id is edited and redriven like any other': noLetters,
  'the view shows the age of the oldest message, be it out or waiting': nothingKept,
  'the view shows each subscription by itself': nothingKept,
  'the view counts dead letters by group, until they are gone': noLetters,
};

describe.skipIf(!url)('on a real Redis server (set REDIS_URL to run it)', { timeout: 60_000 }, async () => {
  const create = broadcastFixture(url ?? '');
  const cases = url
    ? await capabilitiesOf(create).then(({ capabilities, traits }) =>
        testEngine('redis-pubsub', capabilities, create, traits),
      )
    : [];
  const nameOf = (name: string): string => name.replace('redis-pubsub: ', '');

  registerCases(
    it,
    cases.map((one) => ({ ...one, notApplicable: one.notApplicable ?? notForBroadcast[nameOf(one.name)] })),
  );

  it('every reason belongs to a case of the suite', () => {
    const names = new Set(cases.map(({ name }) => nameOf(name)));
    expect(Object.keys(notForBroadcast).filter((name) => !names.has(name))).toEqual([]);
  });
});
