/**
 * Trims the streams of a channel up to the slowest of its groups, the groups of strangers included, and takes over what a stranger read in
 * one of our groups and left idle. Channels with replay also keep what is settled until it is old enough. Never by length: MAXLEN deletes what is
 * pending without a word.
 *
 * KEYS: prefix. ARGV: channel, beginning of our consumers' names, idle ms after which a stranger's entry is taken over, ms that a channel without
 * groups keeps its messages. Returns how many entries were deleted.
 */
export const trim = `
local channel, ours, idle, keep = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local spec = redis.call('HMGET', P .. ':channel:' .. channel, 'levels', 'keepMs')
local levels, keepMs = tonumber(spec[1] or '0'), tonumber(spec[2] or '')
local deleted = 0

local function before(a, b)
  local am, as = string.match(a, '^(%d+)-(%d+)$')
  local bm, bs = string.match(b, '^(%d+)-(%d+)$')
  am, bm = pad(am, 20), pad(bm, 20)
  if am ~= bm then return am < bm end
  return pad(as, 20) < pad(bs, 20)
end
local function after(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return ms .. '-' .. int(tonumber(seq) + 1)
end
local function takeOver(stream, level, group, encoded)
  local s = openSub(channel, encoded, group)
  if not s then return end
  for _, p in ipairs(redis.call('XPENDING', stream, group, 'IDLE', idle, '-', '+', 100)) do
    if string.sub(p[2], 1, #ours) ~= ours then
      giveBack(s, { c = p[2], l = level, id = p[1] }, 1)
      ring(channel)
    end
  end
end
local function encode(name)
  return (string.gsub(name, "[^%w%-_%.!~%*'%(%)]", function(c) return string.format('%%%02X', string.byte(c)) end))
end

for level = 0, levels - 1 do
  local stream = streamOf(channel, level)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  local lowest
  if not groups.err then
    if keepMs then lowest = int(NOW - keepMs) .. '-0' end
    if #groups == 0 then lowest = int(NOW - math.max(keep, keepMs or 0)) .. '-0' end
    for _, g in ipairs(groups) do
      if g[6] > 0 then takeOver(stream, level, g[2], encode(g[2])) end
      local pending = redis.call('XPENDING', stream, g[2])
      local needed = pending[1] > 0 and pending[2] or after(g[8])
      if not lowest or before(needed, lowest) then lowest = needed end
    end
    deleted = deleted + redis.call('XTRIM', stream, 'MINID', lowest)
  end
end
return deleted
`;
