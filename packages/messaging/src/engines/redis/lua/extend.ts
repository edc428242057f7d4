/**
 * Heartbeat: the leases last again from now, and so does the idle clock of the pending entries, or another tool that claims idle ones
 * (XAUTOCLAIM) would take what a handler is working on.
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, consumer, lease in ms, generation, tokens. Returns one number per token: 1 extended, 0 lost.
 */
export const extend = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
local results = {}
local function keepIdle(consumer, level, id)
  return #redis.call('XCLAIM', streamOf(s.channel, level), s.group, consumer, 0, id, 'IDLE', 0, 'JUSTID') > 0
end
local function extendPending(token)
  local level, id = placeOfPending(token)
  if ARGV[6] ~= s.generation then return false end
  -- XCLAIM forgets an entry that somebody has deleted from the stream; here it becomes a dead letter that says so.
  if redis.call('XRANGE', streamOf(s.channel, level), id, id)[1] then return keepIdle(ARGV[4], level, id) end
  local f = takePending(s, token, ARGV[6])
  if f then recordOf(s, f) end
  return false
end
local function extendLease(token)
  local f = redis.call('ZSCORE', s.lease, token) and flightOf(token)
  if not f then return false end
  redis.call('ZADD', s.lease, int(NOW + tonumber(ARGV[5])), token)
  if f.id then keepIdle(f.c, f.l, f.id) end
  return true
end
for i = 7, #ARGV do
  local extended
  if s and isPending(ARGV[i]) then extended = extendPending(ARGV[i])
  elseif s then extended = extendLease(ARGV[i]) end
  results[#results + 1] = extended and 1 or 0
end
return results
`;
