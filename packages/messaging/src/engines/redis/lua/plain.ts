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
 * Acknowledges first hand-outs of a plain channel, each by itself: only so is it known which of them came too late.
 *
 * KEYS: stream, counters of the subscription. ARGV: group, generation, ids. Returns the numbers (from 1) of those that were not pending any more.
 */
export const acknowledge = `
local lost = {}
local isOurs = (redis.call('HGET', KEYS[2], 'generation') or '0') == ARGV[2]
for i = 3, #ARGV do
  if not isOurs or redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 0 then lost[#lost + 1] = i - 2 end
end
return lost
`;
