/**
 * Negative controls on what a consumer itself does, for the order of keys in its shards above all: mistakes planted into its parts, which planted-defects.int.test.ts, whose defects
 * lie in the scripts, cannot make. The parts of all consumers of this process change, so nothing else runs beside a control.
 */
import { describe, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { NextLook } from '../../redis/consuming.ts';
import { hastyLook } from '../../redis/testing/hasty-look.ts';
import { type Plant, planted, replacing } from '../../testing/replacing.ts';
import { awayCases } from './away-cases.ts';
import { redisFixture } from './conformance-fixture.ts';
import { KeyOrder } from './key-order.ts';
import { shardCases } from './redis-shard-cases.ts';
import { shardTroubleCases } from './shard-trouble-cases.ts';

const url = process.env['REDIS_URL'];

const order = KeyOrder.prototype;

interface Defect {
  readonly name: string;
  readonly plant: Plant;
  readonly seenBy: string;
}

const defects: readonly Defect[] = [
  {
    name: 'a key is free before the server has what was given back of it',
    plant: replacing(
      order,
      'end',
      (end) =>
        function (this: KeyOrder, key, token) {
          const behind = end.call(this, key, token);
          this.returned(new Set([key]));
          return behind;
        },
    ),
    seenBy: 'what comes before the server has what was given back',
  },
  {
    name: 'what came while something was given back is forgotten',
    plant: replacing(order, 'returned', () => () => []),
    seenBy: 'what comes before the server has what was given back',
  },
  {
    name: 'a key waits for ever for an answer that was lost',
    plant: replacing(order, 'allReturned', () => () => []),
    seenBy: 'a key goes on when what was given back of it was refused',
  },
  {
    name: 'what the server had kept goes before what waits here',
    plant: replacing(
      order,
      'admit',
      (admit) =>
        function (this: KeyOrder, key, delivery, now, name) {
          return admit.call(this, key, delivery, now, name.includes('|') ? '1|d0-0.1|c|1|k' : name);
        },
    ),
    seenBy: 'what an answer that was lost had carried',
  },
  {
    name: 'what waits behind a handler waits as long as the handler works',
    plant: replacing(order, 'takeOlder', () => () => []),
    seenBy: 'what waits for long behind a handler',
  },
  {
    name: 'the server is not told that something of the key waits there',
    plant: replacing(order, 'isFollowed', () => () => false),
    seenBy: 'one busy key stops no other one',
  },
  {
    name: 'a second one of a key goes out',
    plant: replacing(order, 'admit', () => () => true),
    seenBy: 'one busy key stops no other one',
  },
  {
    name: 'a consumer without room looks again at once',
    plant: hastyLook,
    seenBy: 'a consumer without room asks the server now and then',
  },
  {
    name: 'a consumer whose own read has the room looks again at once',
    plant: hastyLook,
    seenBy: 'a consumer that may not end its own read',
  },
  {
    name: 'a claim that was refused is followed by the next',
    plant: replacing(NextLook.prototype, 'isResting', () => () => false),
    seenBy: 'a consumer whose server goes away while more is due',
  },
];

describe.skipIf(!url)(
  'defects planted into the consumer (set REDIS_URL to run it)',
  { timeout: 60_000 },
  () => {
    limitPatience(4_000);
    const create = redisFixture(url ?? '');
    registerControls(
      it,
      'redis',
      defects.map((defect) => {
        const { name, run } = caseNamed([...awayCases, ...shardCases, ...shardTroubleCases], defect.seenBy);
        return {
          defect: defect.name,
          caughtBy: name,
          healthy: () => onFixture(create, run),
          defective: () => planted(defect.plant, () => onFixture(create, run)),
        };
      }),
    );
  },
);
