/** The script by which a consumer asks for messages, and which does on the way what is due: nobody but those who ask keeps a subscription going. */
import { shards } from './shards.ts';

/**
 * Hands messages of one subscription to one consumer: moves due scheduled ones into their streams, ends leases that are over, then takes what
 * is due and, but for plain channels, what is new, the highest priority first, and puts what may not go out yet (its key is out, waiting or
 * parked) behind its key. What is new on a plain channel consumers read themselves (XREADGROUP). On a channel with shards it hands out of those that are the
 * consumer's (lua/shards.ts).
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, consumer, room, lease in ms, 1 to end leases of what this consumer read from shards.
 * Returns false when the subscription does not exist, else
 *   { token, event, state or nil, abandoned, of each in one list, [consumer, token]... whose lease ended, ms until the next event or -1, drained 0|1,
 *     broken 0|1 (a stream or group is missing: declare again), [stream, id]... to wait on for news when drained,
 *     1 plain, 2 with shards, else 0, generation, routing or '', bindings as JSON or '', endings, [shard, [id, event, key]... in one list]... read from
 *     shards, how many shards it has to leave once nothing of them is on hand }.
 */
export const claim = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
if not s then return false end
local consumer, room, leaseMs = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local SCAN = 1000
local given, ended, bells, lease, busy, seen = {}, {}, {}, {}, {}, {}
local drained, broken, scanned, expired = true, 0, 0, 0
local stamp, leaseEnd = int(NOW) .. '-', int(NOW + leaseMs)
local tokens = redis.call('HINCRBY', s.meta, 'tokens', room + 1) - room
redis.call('ZADD', s.consumers, int(NOW + 15000), consumer)

local function promote()
  local zset, hash = P .. ':sched:' .. s.channel, P .. ':schedbody:' .. s.channel
  local due = redis.call('ZRANGEBYSCORE', zset, '-inf', int(NOW), 'LIMIT', 0, 200)
  if #due == 200 then drained = false end
  for _, member in ipairs(due) do
    local packed = redis.call('HGET', hash, member)
    if packed then
      local m = cmsgpack.unpack(packed)
      redis.call('XADD', streamOf(s.channel, m.l), '*', 'event', m.b, 'key', m.k, 'exp', m.x)
    end
    redis.call('HDEL', hash, member)
    redis.call('ZREM', zset, member)
  end
end

local function endLeases()
  for _, token in ipairs(redis.call('ZRANGEBYSCORE', s.lease, '-inf', int(NOW), 'LIMIT', 0, 200)) do
    local f = flightOf(token)
    land(s, token, f)
    giveBack(s, f, 1)
    ended[#ended + 1] = { f.c, token }
  end
end

-- On a plain channel the lease of a first hand-out is the idle time of its pending entry; its length is in the consumer's name.
local stillPending
local function endPending()
  local stream = streamOf(s.channel, 0)
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, s.group)
  if consumers.err then broken = 1 return end
  local before = #ended
  for _, c in ipairs(consumers) do
    local length = c[4] > 0 and leaseOf(c[2])
    if length then
      for _, p in ipairs(redis.call('XPENDING', stream, s.group, 'IDLE', int(length), '-', '+', 200, c[2])) do
        giveBack(s, { c = c[2], l = 0, id = p[1] }, 1)
        ended[#ended + 1] = { c[2], p[1] }
      end
      for _, p in ipairs(redis.call('XPENDING', stream, s.group, '-', '+', 100, c[2])) do
        local left = math.max(0, length - p[3])
        if not stillPending or left < stillPending then stillPending = left end
      end
    end
  end
  if #ended > before then countEnding(s) end
end

local function lend(r, place)
  tokens = tokens + 1
  local k = s.ordered and r.k or nil
  local token = tokenOf(r.l, place, consumer, stamp .. tokens, k)
  lease[#lease + 1] = leaseEnd
  lease[#lease + 1] = token
  if k then
    busy[#busy + 1] = k
    busy[#busy + 1] = token
    seen[k] = true
  end
  local n = #given
  given[n + 1], given[n + 2], given[n + 3], given[n + 4] = token, r.b, r.st or false, r.ab
  room = room - 1
end
local function expire(key)
  expired = expired + 1
  advance(s, key)
end

local function claimDue(level)
  while room > 0 and scanned < SCAN do
    local origins = redis.call('ZRANGEBYSCORE', s.due .. int(level), '-inf', int(NOW), 'LIMIT', 0, room)
    if #origins == 0 then return end
    for _, origin in ipairs(origins) do
      scanned = scanned + 1
      redis.call('ZREM', s.due .. int(level), origin)
      local r = readDef(s, origin)
      if r and r.x and r.x <= NOW then
        drop(s, origin, r.k, level)
        expire(r.k)
      elseif r and s.ordered and r.k and (seen[r.k] or isBusy(s, r.k)) then defer(s, r, nil, true)
      elseif r and s.sharded and r.lane and redis.call('ZRANGE', s.lane .. r.k, 0, 0)[1] ~= origin then
        -- An older one was given back after it: that goes first.
        defer(s, r, nil, true)
        advance(s, r.k)
      elseif r then lend(r, 'd' .. origin) end
    end
  end
end

-- Once met, a key is held for the rest of this step: what was met is out now, or waits.
local function held(key)
  local before = seen[key]
  seen[key] = true
  return before or redis.call('HEXISTS', s.busy, key) == 1 or redis.call('EXISTS', s.lane .. key, s.park .. key) > 0
end
local function claimStream(level)
  local stream, gone = streamOf(s.channel, level), {}
  while room > 0 and scanned < SCAN do
    local wanted = math.min(room, SCAN)
    local reply = redis.pcall('XREADGROUP', 'GROUP', s.group, consumer, 'COUNT', wanted, 'STREAMS', stream, '>')
    if not reply then break end
    if reply.err then broken = 1 break end
    local entries = reply[1][2]
    scanned = scanned + #entries
    for _, entry in ipairs(entries) do
      local r = readEntry(entry[1], level, entry[2])
      if r.x and r.x <= NOW then
        gone[#gone + 1] = entry[1]
        expire(nil)
      elseif s.ordered and r.k and held(r.k) then
        gone[#gone + 1] = entry[1]
        holdBack(s, placed(r, entry[1]))
      else lend(r, 's' .. entry[1]) end
    end
    if #entries < wanted then break end
  end
  for i = 1, #gone, CHUNK do redis.call('XACK', stream, s.group, unpack(gone, i, math.min(i + CHUNK - 1, #gone))) end
end

${shards}
promote()
if s.shards then takeIn() end
endLeases()
if s.plain then endPending() end
if s.sharded then
  allot()
  if ARGV[7] == '1' then endOwn() end
  for _, level in ipairs(mine) do claimDue(level) end
  readShards()
else
  for level = s.levels - 1, 0, -1 do
    claimDue(level)
    if not s.plain then claimStream(level) end
  end
end
for i = 1, #lease, CHUNK do redis.call('ZADD', s.lease, unpack(lease, i, math.min(i + CHUNK - 1, #lease))) end
for i = 1, #busy, CHUNK do redis.call('HSET', s.busy, unpack(busy, i, math.min(i + CHUNK - 1, #busy))) end
-- What another consumer reads may be due now.
if s.sharded and #ended > 0 then ring(s.channel) end
if expired > 0 then redis.call('HINCRBY', s.meta, 'expired', expired) end
local next = untilNext(s, s.sharded and mine or nil)
if stillPending and (next < 0 or stillPending < next) then next = stillPending end
-- A plain channel is drained when nothing is due: what is new is not looked at here.
if scanned >= SCAN or (room <= 0 and not (s.plain and next ~= 0)) then drained = false end
if drained and not s.plain then
  for level = 0, s.levels - 1 do
    local groups = (not s.sharded or isMine[level]) and redis.pcall('XINFO', 'GROUPS', streamOf(s.channel, level)) or {}
    for _, g in ipairs(groups) do
      if g[2] == s.group then bells[#bells + 1] = { streamOf(s.channel, level), g[8] } end
    end
  end
  if s.shards then bells[#bells + 1] = { streamOf(s.channel, 0), '0' } end
end
return {
  given, ended, next, drained and 1 or 0, broken, bells,
  s.plain and 1 or s.sharded and 2 or 0, s.generation, s.routing, redis.call('HGET', P .. ':bindings:' .. s.channel, s.group) or '', s.endings,
  read, leaving,
}
`;
