/**
 * The scripts of the common case, publishing without keys and priorities and acknowledging what was read: without the prelude, because at one message a call
 * that would cost more than the work itself.
 */

/**
 * Stores messages of one channel in the order given, all of them or none.
 *
 * KEYS: stream. ARGV: events, one per message. Returns 1 stored, 0 the channel does not exist.
 * It may not run without memory (no allow-oom): the server refuses it whole, before its first write.
 */
export const append = `
for i = 1, #ARGV do
  if not redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', 'event', ARGV[i]) then return 0 end
end
return 1
`;

/**
 * Acknowledges first hand-outs of a plain channel, or of a channel with shards. XACK of many says how many were pending and not which, so it is used where all of them have to be: nobody
 * but their consumer has ended a hand-out of this subscription since it last knew of all such endings. Else each is acknowledged by itself: only so
 * is it known which of them came too late. One XACK of 128 takes the server 0.75 us an id, one each takes it 1.8.
 *
 * KEYS: counters of the subscription, streams. ARGV: group, generation, endings as the consumer knows them ('': it doubts one of these), then of each
 * stream how many ids, and the ids.
 * Returns nil when all were pending, else { endings, the numbers (from 1) of those that were not, in the order given }.
 */
export const acknowledge = `
local known = redis.call('HMGET', KEYS[1], 'generation', 'endings')
local isOurs, endings, lost = (known[1] or '0') == ARGV[2], known[2] or '0', {}
local inDoubt = not isOurs or endings ~= ARGV[3]
local at, before = 4, 0
for k = 2, #KEYS do
  local count = tonumber(ARGV[at])
  local from, to = at + 1, at + count
  if not inDoubt then
    local acked = 0
    for i = from, to, 2000 do acked = acked + redis.call('XACK', KEYS[k], ARGV[1], unpack(ARGV, i, math.min(i + 1999, to))) end
    -- Somebody who is not ours has acknowledged some of them: which is not known, and one that is said to be lost does no harm.
    if acked < count then for n = 1, count do lost[#lost + 1] = before + n end end
  else
    for i = from, to do
      if not isOurs or redis.call('XACK', KEYS[k], ARGV[1], ARGV[i]) == 0 then lost[#lost + 1] = before + i - from + 1 end
    end
  end
  at, before = to + 1, before + count
end
if not inDoubt and #lost == 0 then return nil end
return { endings, lost }
`;
