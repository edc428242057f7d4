/**
 * The two scripts of the common case, a channel without keys and priorities: without the prelude, because at one message a call that would cost
 * more than the work itself.
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
 * Acknowledges first hand-outs of a plain channel. XACK of many says how many were pending and not which, so it is used where all of them have to be: nobody
 * but their consumer has ended a hand-out of this subscription since it last knew of all such endings. Else each is acknowledged by itself: only so
 * is it known which of them came too late. One XACK of 128 takes the server 0.75 us an id, one each takes it 1.8.
 *
 * KEYS: stream, counters of the subscription. ARGV: group, generation, endings as the consumer knows them ('': it doubts one of these), ids.
 * Returns nil when all were pending, else { endings, the numbers (from 1) of those that were not }.
 */
export const acknowledge = `
local known = redis.call('HMGET', KEYS[2], 'generation', 'endings')
local isOurs, endings, lost = (known[1] or '0') == ARGV[2], known[2] or '0', {}
if isOurs and endings == ARGV[3] then
  local acked = 0
  for i = 4, #ARGV, 2000 do acked = acked + redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, math.min(i + 1999, #ARGV))) end
  if acked == #ARGV - 3 then return nil end
  -- Somebody who is not ours has acknowledged some of them: which is not known, and one that is said to be lost does no harm.
  for i = 4, #ARGV do lost[i - 3] = i - 3 end
  return { endings, lost }
end
for i = 4, #ARGV do
  if not isOurs or redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 0 then lost[#lost + 1] = i - 3 end
end
return { endings, lost }
`;
