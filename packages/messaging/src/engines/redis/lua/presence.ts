/** Who is there, and what becomes of the hand-outs of one who is not. */

/** KEYS: prefix. ARGV: instance, id of its connection ('' for none to show). Writes both and returns [instance, beat, connection] of all. */
export const beat = `
redis.call('ZADD', P .. ':alive', int(NOW), ARGV[1])
redis.call('HSET', P .. ':connections', ARGV[1], ARGV[2])
local all, flat = {}, redis.call('ZRANGE', P .. ':alive', 0, -1, 'WITHSCORES')
local told, of = redis.call('HGETALL', P .. ':connections'), {}
for i = 1, #told, 2 do of[told[i]] = told[i + 1] end
for i = 1, #flat, 2 do all[#all + 1] = { flat[i], flat[i + 1], of[flat[i]] or '' } end
return all
`;

/** KEYS: prefix. ARGV: instance, its last beat as it was seen ('' for its own leaving). Returns 1 when that is still its last: it is forgotten; else 0. */
export const forget = `
if ARGV[2] ~= '' and redis.call('ZSCORE', P .. ':alive', ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', P .. ':connections', ARGV[1])
return redis.call('ZREM', P .. ':alive', ARGV[1])
`;

/**
 * Takes back what consumers hold whose name begins so.
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, beginning of the name, abandoned 0|1, whether the consumers leave 0|1,
 * instance and beat ('' for none: nothing is done when it has beaten since), tokens to keep. Returns how many were taken back, -1 when it has beaten.
 */
export const forsake = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
if not s then return 0 end
local start, abandoned = ARGV[4], tonumber(ARGV[5])
if ARGV[7] ~= '' and redis.call('ZSCORE', P .. ':alive', ARGV[7]) ~= ARGV[8] then return -1 end
local function theirs(name) return string.sub(name, 1, #start) == start end
local kept, taken, freed = {}, 0, false
for i = 9, #ARGV do
  kept[ARGV[i]] = true
  local f = flightOf(ARGV[i])
  if f and f.id then kept[f.id] = true end
end
for _, token in ipairs(redis.call('ZRANGE', s.lease, 0, -1)) do
  local f = flightOf(token)
  if theirs(f.c) and not kept[token] then
    land(s, token, f)
    giveBack(s, f, abandoned)
    taken = taken + 1
  end
end
-- What is pending and under no lease of ours was read by the consumers themselves.
local leased = taken
for level = 0, s.levels - 1 do
  local stream = streamOf(s.channel, level)
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, s.group)
  for _, c in ipairs(consumers) do
    local from = '-'
    while theirs(c[2]) and c[4] > 0 and from do
      local page = redis.call('XPENDING', stream, s.group, from, '+', 500, c[2])
      from = #page == 500 and '(' .. page[500][1] or nil
      for _, p in ipairs(page) do
        if not kept[s.sharded and int(level) .. ':' .. p[1] or p[1]] then
          giveBack(s, { c = c[2], l = level, id = p[1] }, abandoned)
          taken = taken + 1
        end
      end
    end
  end
end
if taken > leased then countEnding(s) end
if ARGV[6] == '1' then
  local owners = redis.call('HGETALL', s.own)
  for i = 1, #owners, 2 do
    if theirs(owners[i + 1]) then
      redis.call('HDEL', s.own, owners[i])
      freed = true
    end
  end
  for _, name in ipairs(redis.call('ZRANGE', s.readers, 0, -1)) do
    if theirs(name) then
      redis.call('ZREM', s.readers, name)
      freed = true
    end
  end
  for _, name in ipairs(redis.call('ZRANGE', s.consumers, 0, -1)) do
    if theirs(name) then redis.call('ZREM', s.consumers, name) end
  end
  -- A consumer of a group takes its pending entries with it into nothing, so only one without any may go.
  for level = 0, s.levels - 1 do
    local stream = streamOf(s.channel, level)
    local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, s.group)
    for _, c in ipairs(consumers) do
      if theirs(c[2]) and c[4] == 0 then redis.call('XGROUP', 'DELCONSUMER', stream, s.group, c[2]) end
    end
  end
end
if taken > 0 or freed then ring(s.channel) end
return taken
`;

/**
 * A consumer that reads no more gives up its shards of which nothing is pending with it.
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, consumer. Returns how many it has still.
 */
export const giveUpShards = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
if not s then return 0 end
local left, changed = 0, redis.call('ZREM', s.readers, ARGV[4]) == 1
local owners = redis.call('HGETALL', s.own)
for i = 1, #owners, 2 do
  if owners[i + 1] == ARGV[4] then
    local pending = redis.pcall('XPENDING', streamOf(s.channel, tonumber(owners[i])), s.group, '-', '+', 1, ARGV[4])
    if pending[1] then left = left + 1
    else
      redis.call('HDEL', s.own, owners[i])
      changed = true
    end
  end
end
if changed then ring(s.channel) end
return left
`;
