/**
 * Order per key by shards: a part of the claim (lua/claim.ts), whose names it uses.
 *
 * A channel with shards has a stream for each, and the hash of a key says in which one its messages are. Each shard has one consumer of the subscription that
 * reads it (B:own), so nothing has to be asked for a message: what is read goes out as it is, and that consumer itself sees to it that one of a key is
 * out at a time (key-order.ts). What leaves that way (a retry, a lost lease, a key that a dead letter holds) waits on the server by its key as on any other
 * channel, is handed out by claimDue, and while anything of a key waits or is out so, what is read of it goes behind.
 *
 * So a consumer hands out what it read only when it was read as the owner, in a step in which nothing older of its key waited and nothing of it
 * was pending with anybody else. A shard changes hands only in a step in which nothing of it is pending with whoever had it: when it is given up, when
 * its consumer is gone (lua/presence.ts gives back what it held), or when it is silent and the leases of what it holds are over.
 */
export const shards = `
local READER_MS = 15000
local owned, mine, isMine, read, leaving = {}, {}, {}, {}, 0

-- What strangers write says its key inside of the event, and has to lie where all of its key lies. One who reads there in a group of ours has read what all get from the
-- shards: to leave it pending with him would make it a message that somebody trimmed.
local function leaveIntake(intake, ids)
  redis.call('XDEL', intake, unpack(ids))
  for _, g in ipairs(redis.call('XINFO', 'GROUPS', intake)) do
    if g[6] > 0 and redis.call('SISMEMBER', P .. ':subs:' .. s.channel, g[2]) == 1 then redis.call('XACK', intake, g[2], unpack(ids)) end
  end
end
local function takeIn()
  local moved, ids = false, {}
  local intake = streamOf(s.channel, 0)
  local entries = redis.call('XRANGE', intake, '-', '+', 'COUNT', 200)
  for n, entry in ipairs(entries) do
    local r = readEntry(entry[1], 0, entry[2])
    local stream = streamOf(s.channel, shardOf(r.k, s.shards, n + tonumber(time[2])))
    redis.call('XADD', stream, '*', 'event', r.b, 'key', r.k or '', 'exp', r.x and int(r.x) or '')
    ids[n] = entry[1]
  end
  if #ids > 0 then leaveIntake(intake, ids) end
  if #entries == 200 then drained = false end
  -- What a stranger had read from there, and was taken from him while no consumer was there, or an older version has put off.
  for _, origin in ipairs(redis.call('ZRANGEBYSCORE', s.due .. '0', '-inf', int(NOW), 'LIMIT', 0, 200)) do
    redis.call('ZREM', s.due .. '0', origin)
    local r = readDef(s, origin)
    if r then
      r.l = shardOf(r.k, s.shards, tonumber(time[2]))
      redis.call('HSET', s.def, origin, cmsgpack.pack(r))
      setDue(s, r, NOW)
      moved = true
    end
  end
  if moved then ring(s.channel) end
end

-- Ends what a consumer has had longer than its lease.
local function endHeld(level, name)
  local stream, length, before = streamOf(s.channel, level), leaseOf(name), #ended
  if not length then return end
  local over = redis.pcall('XPENDING', stream, s.group, 'IDLE', int(length), '-', '+', 200, name)
  if over.err then broken = 1 return end
  for _, p in ipairs(over) do
    giveBack(s, { c = name, l = level, id = p[1] }, 1)
    ended[#ended + 1] = { name, int(level) .. ':' .. p[1] }
  end
  if #ended > before then countEnding(s) end
end
local function hasPending(level, name)
  local pending = redis.pcall('XPENDING', streamOf(s.channel, level), s.group, '-', '+', 1, name)
  if pending.err then broken = 1 end
  return pending[1] ~= nil
end
local function endOwn() for _, level in ipairs(owned) do endHeld(level, consumer) end end

-- How many shards are this consumer's by right: all the same, the first ones by name one more.
local function rightful()
  local isNew = redis.call('ZADD', s.readers, int(NOW + READER_MS), consumer) == 1
  redis.call('ZREMRANGEBYSCORE', s.readers, '-inf', int(NOW - READER_MS))
  local names = redis.call('ZRANGEBYSCORE', s.readers, int(NOW), '+inf')
  table.sort(names)
  local isThere, place = {}, 0
  for n, name in ipairs(names) do
    isThere[name] = true
    if name == consumer then place = n end
  end
  local count = math.floor(s.shards / #names)
  if place <= s.shards % #names then count = count + 1 end
  return count, isThere, isNew
end
-- Takes shards that nobody has, and gives up those that are another's by right once nothing of them is out.
local function allot()
  local count, isThere, changed = rightful()
  local flat, ownerOf, free = redis.call('HGETALL', s.own), {}, {}
  for i = 1, #flat, 2 do ownerOf[tonumber(flat[i])] = flat[i + 1] end
  for level = 1, s.shards do
    local owner = ownerOf[level]
    if owner and not isThere[owner] then
      endHeld(level, owner)
      if not hasPending(level, owner) then owner = nil end
    end
    if owner == consumer then owned[#owned + 1] = level
    elseif not owner then free[#free + 1] = level end
  end
  -- First those of which nothing is out; of others nothing more is handed out until they are free.
  local excess = #owned - count
  for _, level in ipairs(owned) do
    if excess > 0 and not hasPending(level, consumer) then
      redis.call('HDEL', s.own, int(level))
      changed = true
      excess = excess - 1
    else mine[#mine + 1] = level end
  end
  while excess > 0 do
    table.remove(mine)
    leaving = leaving + 1
    excess = excess - 1
  end
  while #mine + leaving < count and #free > 0 do
    local level = table.remove(free)
    redis.call('HSET', s.own, int(level), consumer)
    mine[#mine + 1] = level
  end
  for _, level in ipairs(mine) do isMine[level] = true end
  if changed then ring(s.channel) end
end

-- Keys whose first was made due, if nothing else is to make it so.
local stirred = {}
local function waits(key)
  return seen[key] or isBusy(s, key) or redis.call('EXISTS', s.lane .. key, s.park .. key) > 0
end
-- Returns how many it read.
local function readShard(level, count, calm)
  local stream = streamOf(s.channel, level)
  local reply = redis.pcall('XREADGROUP', 'GROUP', s.group, consumer, 'COUNT', count, 'STREAMS', stream, '>')
  if not reply then return 0 end
  if reply.err then broken = 1 return 0 end
  local entries, gone, list = reply[1][2], {}, {}
  for _, entry in ipairs(entries) do
    local id, fields = entry[1], entry[2]
    local event, key, exp = fields[2], fields[4], fields[6]
    if #fields ~= 6 or fields[1] ~= 'event' or fields[3] ~= 'key' then
      local r = readEntry(id, level, fields)
      event, key, exp = r.b, r.k or '', r.x and int(r.x) or ''
    end
    if exp ~= '' and tonumber(exp) <= NOW then
      gone[#gone + 1] = id
      expired = expired + 1
    elseif not calm and key ~= '' and waits(key) then
      gone[#gone + 1] = id
      holdBack(s, placed({ l = level, b = event, k = key, x = tonumber(exp), ab = 0 }, id))
      if not stirred[key] then advance(s, key) end
      stirred[key] = true
    else
      local n = #list
      list[n + 1], list[n + 2], list[n + 3] = id, event, key
      room = room - 1
    end
  end
  for i = 1, #gone, CHUNK do redis.call('XACK', stream, s.group, unpack(gone, i, math.min(i + CHUNK - 1, #gone))) end
  if #list > 0 then read[#read + 1] = { level, list } end
  scanned = scanned + #entries
  return #entries
end
local function readShards()
  -- Nothing waits and nothing is held: then no key has to be asked for.
  local calm = #busy == 0 and redis.call('HLEN', s.busy) == 0 and redis.call('HLEN', s.def) == 0 and redis.call('HLEN', s.groups) == 0
  -- Each gives its part, another one first each time; what some have not is taken from the others.
  local full = {}
  local turn = redis.call('HINCRBY', s.meta, 'turn', 1)
  for n = 1, #mine do full[n] = mine[1 + (turn + n) % #mine] end
  while room > 0 and scanned < SCAN and #full > 0 do
    local part, still = math.max(1, math.ceil(room / #full)), {}
    for _, level in ipairs(full) do
      local count = math.min(part, room, SCAN)
      if count <= 0 then still[#still + 1] = level
      elseif readShard(level, count, calm) == count then still[#still + 1] = level end
    end
    full = still
  end
end
`;
