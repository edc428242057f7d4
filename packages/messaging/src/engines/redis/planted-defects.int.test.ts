/**
 * Negative controls on Redis: mistakes that users of streams and groups have really made, planted into the scripts on their way to the server.
 * Each has to be caught by the case that is there for it.
 */
import { describe, expect, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { openClient } from '../../redis/client.ts';
import { neverBack } from '../../redis/testing/never-back.ts';
import { breakingControls, plantedControls, type SeenBy } from '../../testing/planted-controls.ts';
import { planting } from '../../redis/testing/planted-scripts.ts';
import { redisFixture } from './conformance-fixture.ts';
import { redisEngineOn } from './engine.ts';
import { redisCases } from './redis-cases.ts';
import { shardCases } from './redis-shard-cases.ts';
import { shardTroubleCases } from './shard-trouble-cases.ts';

const url = process.env['REDIS_URL'];

interface Defect {
  readonly name: string;
  /** What the script says, and what it says instead. */
  readonly from: string;
  readonly to: string;
  /** Part of the name of the case that has to see it. */
  readonly seenBy: string;
  /** Of channels with order. */
  readonly shards?: number;
  /** Where a healthy engine takes long too. */
  readonly patienceMs?: number;
}

const defects: readonly Defect[] = [
  {
    name: 'a subscription is forgotten whoever consumes it',
    from: `if s and redis.call('ZCOUNT', s.consumers, int(NOW), '+inf') > 0 then return 0 end
redis.call('SREM'`,
    to: `redis.call('SREM'`,
    seenBy: 'is not forgotten under its consumers',
  },
  {
    name: 'streams are kept short by MAXLEN',
    from: `'NOMKSTREAM', '*'`,
    to: `'NOMKSTREAM', 'MAXLEN', '=', '10', '*'`,
    seenBy: 'a batch handler gets what is there',
  },
  {
    name: 'trimming follows the fastest group',
    from: 'before(needed, lowest)',
    to: 'before(lowest, needed)',
    seenBy: 'trimming follows the slowest group',
  },
  {
    name: 'trimming goes by what was read, not by what was acknowledged',
    from: 'pending[1] > 0 and pending[2] or after(g[8])',
    to: 'after(g[8])',
    seenBy: 'trimming follows the slowest group',
  },
  {
    name: 'the idle clock runs while a keyed handler works',
    from: `if f.id then keepIdle(f.c`,
    to: `if false then keepIdle(f.c`,
    seenBy: 'the heartbeat keeps the idle clock',
    shards: 0,
  },
  {
    name: 'the idle clock, which is the lease, runs while a plain handler works',
    from: `return #redis.call('XCLAIM', streamOf(s.channel, level), s.group, consumer, 0, id, 'IDLE', 0, 'JUSTID') > 0`,
    to: 'return true',
    seenBy: 'a handler longer than its lease keeps the message',
  },
  {
    name: 'a late settlement of a key settles: nobody looks at the lease',
    from: 'ends[n - from + 1] and not landed',
    to: 'not landed',
    seenBy: 'a keyed message keeps its lease',
    shards: 0,
  },
  {
    name: 'a late acknowledgement is taken for one in time',
    from: `if not isOurs or redis.call('XACK', KEYS[k], ARGV[1], ARGV[i]) == 0 then`,
    to: `redis.call('XACK', KEYS[k], ARGV[1], ARGV[i]) if false then`,
    seenBy: 'a late acknowledgement is told from one in time',
  },
  {
    name: 'nobody counts that leases of what was read have ended',
    from: `s.endings = int(redis.call('HINCRBY', s.meta, 'endings', 1))`,
    to: '',
    seenBy: 'a late acknowledgement is told from one in time',
  },
  {
    name: 'acknowledging many does not look how many were pending',
    from: 'if acked < count then for',
    to: 'if false then for',
    seenBy: 'what somebody else acknowledged is never said to be settled',
  },
  {
    name: 'a message given back stays pending for whoever is late',
    from: `  leaveStream(s, f)
  r.ab = r.ab + abandoned`,
    to: '  r.ab = r.ab + abandoned',
    seenBy: 'a late acknowledgement is told from one in time',
  },
  {
    name: 'the lease of what was read never ends',
    from: 'if s.plain then endPending() end',
    to: '',
    seenBy: 'a lost lease is handed out again',
  },
  {
    name: 'a lease of a read that ended is not counted',
    from: 'giveBack(s, { c = c[2], l = 0, id = p[1] }, 1)',
    to: 'giveBack(s, { c = c[2], l = 0, id = p[1] }, 0)',
    seenBy: 'a lost lease is handed out again',
  },
  {
    name: 'what a killed process had read waits for its lease',
    from: `if not kept[s.sharded and int(level) .. ':' .. p[1] or p[1]] then`,
    to: 'if abandoned == 0 and not kept[p[1]] then',
    seenBy: 'SIGKILL between receive and handle',
    // A process has to start first, on a machine that may be busy.
    patienceMs: 8_000,
  },
  {
    name: 'what a lost answer to a read carried waits for its lease',
    from: `if not kept[s.sharded and int(level) .. ':' .. p[1] or p[1]] then`,
    to: 'if abandoned == 1 and not kept[p[1]] then',
    seenBy: 'an answer lost with the connection',
  },
  {
    name: 'the oldest age is that of the youngest',
    from: 'if ms and (not oldest or ms < oldest) then oldest = ms end',
    to: 'if ms and (not oldest or ms > oldest) then oldest = ms end',
    seenBy: 'the age of the oldest message',
  },
  {
    name: 'what consumers have read is not shown as out',
    from: 'if s.plain or s.sharded then flying = flying + pending end',
    to: '',
    seenBy: 'what waits and what is out',
  },
  {
    name: 'an expired message is dropped and not counted',
    from: `elseif f and kind == 'x' then ack(f) redis.call('HINCRBY', s.meta, 'expired', 1)`,
    to: `elseif f and kind == 'x' then ack(f)`,
    seenBy: 'an expired message is dropped',
  },
  {
    name: 'a heartbeat of a keyed message is answered and does nothing',
    from: `redis.call('ZADD', s.lease, int(NOW + tonumber(ARGV[5])), token)`,
    to: '',
    seenBy: 'a keyed message keeps its lease',
    shards: 0,
  },
  {
    name: 'trimming does not know how long a channel keeps',
    from: `if keepMs then lowest = int(NOW - keepMs) .. '-0' end`,
    to: '',
    seenBy: 'settled messages stay as long',
    patienceMs: 12_000,
  },
  {
    name: 'a rewind forgets what waits beside the stream',
    from: 'if not stays(r) then drop(',
    to: 'if true then drop(',
    seenBy: 'a correction that waits is handed out after a rewind',
  },
  {
    name: 'a rewind looks for the place of a copy, not for its message',
    from: `return not entry or readEntry(id, r.l, entry[2]).b ~= r.b`,
    to: 'return not entry',
    seenBy: 'a correction that waits is handed out after a rewind',
  },
  {
    name: 'a rewind keeps what its stream brings again',
    from: `return not entry or readEntry(id, r.l, entry[2]).b ~= r.b`,
    to: 'return true',
    seenBy: 'a correction that waits is handed out after a rewind',
  },
  {
    name: 'a rewind keeps what is before its point',
    from: `if last == '$' then return true end`,
    to: `if last == '$' then return false end`,
    seenBy: 'rewind to the latest leaves behind',
  },
  {
    name: 'tokens of before a rewind are good after it',
    from: `redis.call('HINCRBY', s.meta, 'generation', 1)`,
    to: '',
    seenBy: 'an acknowledgement from before a rewind',
  },
  {
    name: 'two of a key are out at once',
    from: 'local before = seen[key]',
    to: 'if true then return false end local before = seen[key]',
    seenBy: 'order per key holds across processes',
    shards: 0,
  },
  {
    name: 'the followers of a dead letter go on',
    from: `if s.onFailure ~= 'sequencedDlq' then return end`,
    to: 'do return end',
    seenBy: 'sequencedDlq parks the head',
  },
  {
    name: 'what was trimmed in flight is passed over',
    from: 'insertDead(s, lost, false, {',
    to: 'if true then return nil end insertDead(s, lost, false, {',
    seenBy: 'what somebody trims by length',
  },
  {
    name: 'pending entries of strangers stay for ever',
    from: `if g[6] > 0 then takeOver`,
    to: 'if false then takeOver',
    seenBy: 'what a stranger read in a group of ours',
  },
  {
    name: 'a delay is counted from nowhere',
    from: 'int(SOON + delay)',
    to: 'int(SOON)',
    seenBy: 'a delayed message is not early',
  },
  {
    name: 'what a lost answer to a claim carried waits for its lease',
    from: 'if theirs(f.c) and not kept',
    to: 'if abandoned == 1 and theirs(f.c) and not kept',
    seenBy: 'a lost answer of a claim',
    shards: 0,
  },
  {
    name: 'what is read from a shard is handed out though more of its key waits on the server',
    from: `elseif not calm and key ~= '' and waits(key) then`,
    to: 'elseif false then',
    seenBy: 'what waits behind a message that is tried again comes after it',
  },
  {
    name: 'a shard is given up while something of it is out',
    from: 'if excess > 0 and not hasPending(level, consumer) then',
    to: 'if excess > 0 then',
    seenBy: 'who joins gets nothing of a shard',
  },
  {
    name: 'a consumer that stops gives up its shards while something of them is out',
    from: 'if pending[1] then left = left + 1',
    to: 'if false then left = left + 1',
    seenBy: 'what waited behind a message goes behind it when both are given back',
  },
  {
    name: 'what waited behind a message is left to its lease',
    from: 'fallBehind(f, ARGV[where + 2])',
    to: '',
    seenBy: 'one busy key stops no other one',
  },
  {
    name: 'the leases of a silent owner never end',
    from: 'if not length then return end',
    to: 'do return end',
    seenBy: 'shards of a consumer that is silent are taken',
    // Found by a look, of which there is one in 5 s.
    patienceMs: 8_000,
  },
  {
    name: 'shards are taken from an owner that lives',
    from: 'if not hasPending(level, owner) then owner = nil end',
    to: 'owner = nil',
    seenBy: 'shards of a consumer that is silent are taken',
    // Found by a look, of which there is one in 5 s.
    patienceMs: 8_000,
  },
  {
    name: 'the same shard is read first each time',
    from: `local turn = redis.call('HINCRBY', s.meta, 'turn', 1)`,
    to: 'local turn = 0',
    seenBy: 'every shard has its turn',
  },
  {
    name: 'all that a stranger writes goes into one shard',
    from: 'local stream = streamOf(s.channel, shardOf(r.k, s.shards, n + tonumber(time[2])))',
    to: 'local stream = streamOf(s.channel, 1)',
    seenBy: 'what a stranger writes moves to the shard of its key',
  },
  {
    name: 'what a stranger has taken of the intake stays pending with him when it is moved',
    from: `if g[6] > 0 and redis.call('SISMEMBER'`,
    to: `if false and redis.call('SISMEMBER'`,
    seenBy: 'what a stranger has taken of the intake is moved',
  },
  {
    name: 'records of before there were shards, and of strangers, stay where no consumer looks',
    from: `redis.call('ZRANGEBYSCORE', s.due .. '0', '-inf', int(NOW), 'LIMIT', 0, 200)`,
    to: '{}',
    seenBy: 'what a stranger took of the intake while no consumer was there',
  },
  {
    name: 'a key is busy with what is on record, whether or not it is pending',
    from: 'if pending[1] then return true end',
    to: 'if true then return true end',
    seenBy: 'a key goes on that was busy with what a stranger ended',
  },
  {
    name: "leases do not end in shards that are another one's by right",
    from: 'local function endOwn() for _, level in ipairs(owned)',
    to: 'local function endOwn() for _, level in ipairs(mine)',
    seenBy: 'leases end in shards that are being left',
    // Found by a look, of which there is one in 5 s.
    patienceMs: 12_000,
  },
  {
    name: 'what is redriven takes the place of its entry',
    from: 'o = placeFor(letter)',
    to: 'o = letter.origin',
    seenBy: 'two letters of one message are put back',
  },
  {
    name: 'what is redriven takes the place of its entry, and of a correction',
    from: 'o = placeFor(letter)',
    to: 'o = letter.origin',
    seenBy: 'two letters of one message, each corrected',
  },
];

/** Between the toolkit and the engine. */
const seenBy: SeenBy = {
  'what is malformed is dropped': 'a payload that is no CloudEvent and one that breaks',
  'the group of a dead letter is its raw text': 'dead letters are grouped by cause',
  'a discard does nothing': 'a discarded dead letter is gone',
  'a priority is ignored': 'higher priorities first',
  'one key stops all': 'a key that fails does not stop another',
  'a dead letter frees its key': 'blockKey holds the key',
  'followers go on': 'sequencedDlq parks the head',
  'skip holds the key': 'skip lets the others pass',
  'prefetch is not kept': 'never more unsettled deliveries',
  'bindings are ignored': ['direct routing: a subscription gets what', 'topic routing', 'headers routing'],
  'a rewind ignores the point': [
    'rewind to a time hands out what was published since',
    'rewind to an offset',
  ],
};

/** A healthy engine needs a tenth of it for each of these cases, but for keeping a message its time and trimming it in the next second. */
const PATIENCE_MS = 4_000;
limitPatience(PATIENCE_MS);

const patiently =
  (patienceMs: number | undefined, run: () => Promise<void>): (() => Promise<void>) =>
  async () => {
    if (patienceMs === undefined) return run();
    limitPatience(patienceMs);
    try {
      await run();
    } finally {
      limitPatience(PATIENCE_MS);
    }
  };

const shardsOf = ({ shards }: Defect): { readonly shards?: number } =>
  shards === undefined ? {} : { shards };

describe.skipIf(!url)(
  'defects planted into the scripts (set REDIS_URL to run it)',
  { timeout: 60_000 },
  () => {
    const controlsOf = (some: readonly Defect[]) =>
      some.map((defect) => {
        const { name, run } = caseNamed(
          [...conformanceCases, ...redisCases, ...shardCases, ...shardTroubleCases],
          defect.seenBy,
        );
        const on = (create: ReturnType<typeof redisFixture>) =>
          patiently(defect.patienceMs, () => onFixture(create, run));
        return {
          defect: defect.name,
          caughtBy: name,
          healthy: on(redisFixture(url ?? '', openClient, shardsOf(defect))),
          defective: on(redisFixture(url ?? '', planting(defect), shardsOf(defect))),
        };
      });
    // Those with a patience of their own set that of the whole process, so they go one by one.
    registerControls(it, 'redis', controlsOf(defects.filter(({ patienceMs }) => patienceMs !== undefined)));
    registerControls(
      it.concurrent,
      'redis',
      controlsOf(defects.filter(({ patienceMs }) => patienceMs === undefined)),
    );

    const create = redisFixture(url ?? '');
    // Most of them wait in vain, which some can do at once.
    registerControls(it.concurrent, 'redis', [
      ...plantedControls(seenBy, create),
      ...breakingControls(create, (fixture) => ({
        ...fixture,
        open: () => redisEngineOn(neverBack, { url: fixture.url, prefix: fixture.prefix }),
      })),
    ]);

    it.each(defects)('the scripts say what is replaced: $name', async ({ from }) => {
      const { scriptTexts } = await import('./scripts.ts');
      expect(scriptTexts().some((text) => text.includes(from))).toBe(true);
    });
  },
);
