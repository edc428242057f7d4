/**
 * Heartbeat: the leases last again from now, and so does the idle clock of the pending entries, or another tool that claims idle ones
 * (XAUTOCLAIM) would take what a handler is working on.
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, lease in ms, tokens. Returns one number per token: 1 extended, 0 lost.
 */
export const extend = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
local results = {}
for i = 5, #ARGV do
  local f = s and redis.call('ZSCORE', s.lease, ARGV[i]) and flightOf(ARGV[i])
  if f then
    redis.call('ZADD', s.lease, int(NOW + tonumber(ARGV[4])), ARGV[i])
    if f.id then redis.call('XCLAIM', streamOf(s.channel, f.l), s.group, f.c, 0, f.id, 'IDLE', 0, 'JUSTID') end
  end
  results[#results + 1] = f and 1 or 0
end
return results
`;
