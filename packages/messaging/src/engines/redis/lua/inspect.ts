/**
 * Counts of one channel, for people.
 *
 * KEYS: prefix. ARGV: channel, then encoded name and name of each subscription.
 * Returns { scheduled, { ready, delayed, waiting for their key, in flight, age of the oldest in ms or -1, expired, consumers, [group, count]... }... }.
 */
export const inspect = `
local channel = ARGV[1]
local function groupOf(stream, name)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, g in ipairs(groups) do
    if g[2] == name then return { pending = g[6], last = g[8], lag = g[12] } end
  end
end
-- The server does not know the lag once entries were deleted one by one: then they are counted, up to a limit.
local function lagOf(stream, g)
  if g.lag then return g.lag end
  return #redis.call('XRANGE', stream, '(' .. g.last, '+', 'COUNT', 10000)
end
local views = {}
for i = 2, #ARGV, 2 do
  local s = openSub(channel, ARGV[i], ARGV[i + 1])
  if s then
    local ready, delayed, due, pending, oldest = 0, 0, 0, 0, nil
    local function seen(ms) if ms and (not oldest or ms < oldest) then oldest = ms end end
    for level = 0, s.levels - 1 do
      local stream, zset = streamOf(channel, level), s.due .. int(level)
      local now = redis.call('ZCOUNT', zset, '-inf', int(NOW))
      local all = redis.call('ZCARD', zset)
      ready, delayed, due = ready + now, delayed + all - now, due + all
      local g = groupOf(stream, s.group)
      if g then
        ready, pending = ready + lagOf(stream, g), pending + g.pending
        local next = redis.call('XRANGE', stream, '(' .. g.last, '+', 'COUNT', 1)[1]
        if next then seen(msOf(next[1])) end
        if g.pending > 0 then seen(msOf(redis.call('XPENDING', stream, s.group)[2])) end
      end
    end
    local first = redis.call('ZRANGE', s.age, 0, 0, 'WITHSCORES')
    seen(first[2] and tonumber(first[2]))
    local flying = redis.call('ZCARD', s.lease)
    local waiting = redis.call('HLEN', s.def) - due - math.max(0, flying - (s.sharded and 0 or pending))
    if s.plain then waiting = 0 end
    -- What consumers read themselves is pending and under no lease of ours.
    if s.plain or s.sharded then flying = flying + pending end
    local groups, flat = {}, redis.call('HGETALL', s.groups)
    for n = 1, #flat, 2 do groups[#groups + 1] = { flat[n], tonumber(flat[n + 1]) } end
    views[#views + 1] = {
      ready, delayed, math.max(0, waiting), flying, oldest and math.max(0, NOW - oldest) or -1,
      tonumber(redis.call('HGET', s.meta, 'expired') or '0'), redis.call('ZCOUNT', s.consumers, int(NOW), '+inf'), groups,
    }
  else views[#views + 1] = false end
end
return { redis.call('ZCARD', P .. ':sched:' .. channel), views }
`;
