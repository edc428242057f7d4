/**
 * What all scripts of this engine begin with: the clock, the records and the moves of one message. A script is one step of the server,
 * so nobody ever sees a message half moved; there is no rollback, so everything that can be refused is asked first.
 *
 * Keys, under the prefix P (KEYS[1]):
 *   P:stream:<channel>[:<level>]  stream; an entry is { event: CloudEvent as JSON, key, exp }. A foreign one may give `event` alone. On a channel with
 *                                 shards level 0 is where strangers write, and each other level is a shard (see lua/shards.ts)
 *   P:channels                    set of names;  P:channel:<name>  hash { order, onFailure, levels, shards, owner (ephemeral ones), routing, keepMs }
 *   P:bindings:<channel>          hash subscription -> its bindings as JSON, on channels with routing
 *   P:subs:<channel>              set of names of subscriptions = consumer groups on each stream of the channel
 *   P:sched:<channel>, :schedbody published with a delay: zset by due time, hash of records
 *   P:alive, P:connections        zset: instance -> its last beat; hash: instance -> id of its connection as of that beat
 *   P:dead, P:letters             zset id -> number, hash id -> JSON of the dead letter; all channels together, in the order of parking
 *   B = P:sub:<channel>:<name>    of one subscription:
 *     B:lease  zset token -> end of its lease: what is in flight. A token says all about a flight (see flightOf), so that an
 *              acknowledgement reads and writes nothing else, and is unique, so that it is the fence
 *     B:def    origin -> deferred record { o, l, b body, k key, x expiry, at stored, st state, ab abandoned, lane }
 *     B:age    zset origin -> time of storing;  B:due:<level>  zset origin -> due time
 *     B:busy   key -> token that is out (of what a consumer read from its shards only where more of the key waits here);  B:lane:<key>  zset of origins that keep their order;  B:park:<key>  dead letters that hold it
 *     B:groups, B:meta, B:consumers  counts of dead letters, counters { tokens, expired, generation, endings }, who is there
 *     B:own, B:readers  with shards: hash shard -> the one consumer that reads it, zset of those that want to read
 *
 * A message, seen by one subscription: in the stream -> pending in the group (and in B:lease, but for first hand-outs on plain channels, whose
 * lease is the idle time of the pending entry) -> acknowledged, or copied to B:def and
 * acknowledged there, so that the stream can be trimmed up to its slowest group. An origin is the padded entry id, hence its order; with a `+` behind it,
 * what stands beside that entry: a letter that was put back, or a correction of before after a rewind.
 *
 * The clock is the server's (TIME): one for all processes. Callers give waits as lengths, never as points in time of their own clock.
 */
export const prelude = `
local P = KEYS[1]
local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)
local SOON = time[1] * 1000 + math.ceil(time[2] / 1000)
local CHUNK = 2000

local function int(n) return string.format('%.0f', n) end
local function pad(text, width) return string.rep('0', width - #text) .. text end
local function streamOf(channel, level)
  if level == 0 then return P .. ':stream:' .. channel end
  return P .. ':stream:' .. channel .. ':' .. int(level)
end
-- What has no key has no order to keep, and goes round.
local function shardOf(key, shards, turn)
  if key and key ~= '' then turn = tonumber(string.sub(redis.sha1hex(key), 1, 8), 16) end
  return 1 + turn % shards
end
local function originOf(id, level)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return pad(ms, 16) .. '-' .. pad(seq, 12) .. '.' .. int(level)
end
local function msOf(id) return tonumber(string.match(id, '^(%d+)')) end

local function openSub(channel, encoded, group)
  local spec = redis.call('HMGET', P .. ':channel:' .. channel, 'order', 'onFailure', 'levels', 'routing', 'shards')
  if not spec[1] or redis.call('SISMEMBER', P .. ':subs:' .. channel, group) == 0 then return nil end
  local base = P .. ':sub:' .. channel .. ':' .. encoded
  local counters = redis.call('HMGET', base .. ':meta', 'generation', 'endings')
  return {
    channel = channel, encoded = encoded, group = group, base = base,
    ordered = spec[1] == 'key', onFailure = spec[2], levels = tonumber(spec[3]), routing = spec[4] or '',
    shards = tonumber(spec[5] or ''), sharded = spec[1] == 'key' and spec[5] ~= false,
    plain = spec[1] ~= 'key' and spec[3] == '1', generation = counters[1] or '0', endings = counters[2] or '0',
    lease = base .. ':lease', def = base .. ':def', age = base .. ':age', due = base .. ':due:',
    busy = base .. ':busy', lane = base .. ':lane:', park = base .. ':park:', groups = base .. ':groups',
    meta = base .. ':meta', consumers = base .. ':consumers', own = base .. ':own', readers = base .. ':readers', woke = false,
  }
end

-- Days since 1970 of a date, by the proleptic Gregorian calendar (Howard Hinnant's days_from_civil).
local function days(y, m, d)
  if m <= 2 then y = y - 1 end
  local era = math.floor(y / 400)
  local yoe = y - era * 400
  local doy = math.floor((153 * ((m + 9) % 12) + 2) / 5) + d - 1
  return era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
end
local function msOfIso(text)
  local y, m, d, h, i, s, rest = string.match(text, '^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):(%d%d%.?%d*)(.*)$')
  if not y then return nil end
  local ms = (((days(tonumber(y), tonumber(m), tonumber(d)) * 24 + h) * 60 + i) * 60 + tonumber(s)) * 1000
  local sign, zh, zm = string.match(rest, '^([+-])(%d%d):(%d%d)$')
  if sign then ms = ms - (sign == '-' and -1 or 1) * (zh * 60 + zm) * 60000 end
  return ms
end

-- What a foreign publisher wrote says its key and its end inside the event only.
local function readForeign(r)
  local ok, event = pcall(cjson.decode, r.b)
  if not ok or type(event) ~= 'table' then return end
  if type(event.partitionkey) == 'string' and event.partitionkey ~= '' then r.k = event.partitionkey end
  if type(event.expirytime) == 'string' then r.x = msOfIso(event.expirytime) end
end
local function readEntry(id, level, fields)
  if #fields == 6 and fields[1] == 'event' and fields[3] == 'key' and fields[5] == 'exp' then
    return { l = level, b = fields[2], k = fields[4] ~= '' and fields[4] or nil, x = tonumber(fields[6]), ab = 0 }
  end
  local e = {}
  for i = 1, #fields, 2 do e[fields[i]] = fields[i + 1] end
  local r = { l = level, b = e.event, k = e.key, x = tonumber(e.exp or ''), ab = 0 }
  if r.b == nil then r.b = cjson.encode(e) r.k = nil
  elseif e.key == nil then readForeign(r) end
  if r.k == '' then r.k = nil end
  return r
end
-- What a record needs outside of its stream.
local function placed(r, id)
  r.o, r.at = originOf(id, r.l), msOf(id)
  return r
end
local function messageIdOf(body)
  local ok, event = pcall(cjson.decode, body)
  if ok and type(event) == 'table' and type(event.id) == 'string' then return event.id end
  return ''
end

local function readDef(s, origin)
  local packed = redis.call('HGET', s.def, origin)
  return packed and cmsgpack.unpack(packed) or nil
end
local function setDue(s, r, at)
  redis.call('ZADD', s.due .. int(r.l), int(at), r.o)
  if at <= NOW then s.woke = true end
end
-- Puts a record where deferred ones are: due at a time, or waiting behind its key when there is none.
local function defer(s, r, at, lane)
  r.lane = lane or nil
  redis.call('HSET', s.def, r.o, cmsgpack.pack(r))
  redis.call('ZADD', s.age, int(r.at), r.o)
  if r.k then
    if lane then redis.call('ZADD', s.lane .. r.k, 0, r.o) else redis.call('ZREM', s.lane .. r.k, r.o) end
  end
  if at then setDue(s, r, at) end
end
local function drop(s, origin, key, level)
  redis.call('HDEL', s.def, origin)
  redis.call('ZREM', s.age, origin)
  redis.call('ZREM', s.due .. int(level), origin)
  if key then redis.call('ZREM', s.lane .. key, origin) end
end
-- Whether something of a key is out. What a consumer read itself has no lease that would end it here: it is asked for where it should be pending, in case somebody
-- who does not know of it (a stranger, an older version) has ended it.
local function isBusy(s, key)
  local token = redis.call('HGET', s.busy, key)
  if not token then return false end
  local level, id = string.match(token, '^(%d+):(.+)$')
  if not level then return true end
  local pending = redis.pcall('XPENDING', streamOf(s.channel, tonumber(level)), s.group, id, id, 1)
  if pending[1] then return true end
  redis.call('HDEL', s.busy, key)
  return false
end
-- The key is free: the oldest one waiting for it falls due. One that waits for a time of its own is not brought forward.
local function advance(s, key)
  if not key or not s.ordered then return end
  local head = redis.call('ZRANGE', s.lane .. key, 0, 0)[1]
  if not head or redis.call('EXISTS', s.park .. key) == 1 or isBusy(s, key) then return end
  local r = readDef(s, head)
  if r and redis.call('ZADD', s.due .. int(r.l), 'NX', int(NOW), r.o) == 1 then s.woke = true end
end

local function insertDead(s, r, lane, letter)
  local number = redis.call('INCR', P .. ':seq')
  redis.call('HSET', P .. ':letters', letter.id, cjson.encode({
    id = letter.id, channel = s.channel, subscription = s.group, encoded = s.encoded, messageId = messageIdOf(r.b), key = r.k,
    reason = letter.reason, group = letter.group, at = letter.at, history = letter.history, state = letter.state,
    body = r.b, origin = r.o, level = r.l, expires = r.x, stored = r.at, lane = lane or nil,
  }))
  redis.call('ZADD', P .. ':dead', number, letter.id)
  redis.call('HINCRBY', s.groups, letter.group, 1)
  if lane then redis.call('ZADD', s.park .. r.k, 0, r.o .. '|' .. letter.id) end
end
local function parkFollower(s, r)
  insertDead(s, r, true, {
    id = s.channel .. '/' .. s.encoded .. '/' .. r.o, at = NOW, history = '[]', state = r.st,
    reason = 'parked behind the dead letter at the head of its key', group = 'parked behind its key',
  })
end
-- What may not go out yet waits behind its key.
local function holdBack(s, r)
  if s.onFailure ~= 'sequencedDlq' or redis.call('EXISTS', s.park .. r.k) == 0 then return defer(s, r, nil, true) end
  parkFollower(s, r)
  drop(s, r.o, r.k, r.l)
end

-- The length of the leases of one of our consumers, which its name tells; nil for a stranger.
local function leaseOf(consumer)
  return tonumber(string.match(consumer, '^doorbuster:.*~(%d+)%.$'))
end
-- The first hand-out on a plain channel, or from a shard, has the id of its entry as its token, behind the number of its shard: it is pending until it is
-- settled, given back or lost, and an id is read once in a generation. Acknowledging is asking: whoever is late finds nothing pending.
local function placeOfPending(token)
  local shard, id = string.match(token, '^(%d+):(.+)$')
  return tonumber(shard or '0'), id or token
end
local function takePending(s, token, generation)
  local level, id = placeOfPending(token)
  if generation ~= s.generation or redis.call('XACK', streamOf(s.channel, level), s.group, id) == 0 then return nil end
  return { l = level, c = '', id = id }
end
-- Hand-outs of what is pending were ended by somebody else than their consumer: acknowledgements are looked at one by one until it knows of it.
local function countEnding(s) s.endings = int(redis.call('HINCRBY', s.meta, 'endings', 1)) end
local function isPending(token) return not string.find(token, '|', 1, true) end
-- A token of any other hand-out is level | s entry or d origin | consumer | number | key, the last only where order is kept.
local function tokenOf(level, place, consumer, number, key)
  return level .. '|' .. place .. '|' .. consumer .. '|' .. number .. '|' .. (key or '')
end
local function flightOf(token)
  local level, kind, place, consumer, key = string.match(token, '^(%d+)|([sd])([^|]*)|([^|]*)|[^|]*|(.*)$')
  if not level then return nil end
  local f = { l = tonumber(level), c = consumer, k = key ~= '' and key or nil }
  if kind == 's' then f.id = place else f.o = place end
  return f
end
-- Ends a flight: the token means nothing from here on.
local function land(s, token, f)
  redis.call('ZREM', s.lease, token)
  if f.k then redis.call('HDEL', s.busy, f.k) end
end
local function leaveStream(s, f)
  if f.id then redis.call('XACK', streamOf(s.channel, f.l), s.group, f.id) end
end
-- A message that a consumer read itself may have those behind it that wait here: then its key is busy with it.
local function freeRead(s, f, key)
  if s.sharded and f.id and key and redis.call('HGET', s.busy, key) == int(f.l) .. ':' .. f.id then redis.call('HDEL', s.busy, key) end
end
-- The record of what is in flight. Somebody may have trimmed the stream under it: then a dead letter without a body says so, instead of nothing.
local function recordOf(s, f)
  if not f.id then return readDef(s, f.o) end
  local found = redis.call('XRANGE', streamOf(s.channel, f.l), f.id, f.id)
  if found[1] then
    local r = placed(readEntry(f.id, f.l, found[1][2]), f.id)
    freeRead(s, f, r.k)
    return r
  end
  leaveStream(s, f)
  local lost = placed({ l = f.l, b = '', k = f.k }, f.id)
  insertDead(s, lost, false, {
    id = s.channel .. '/' .. s.encoded .. '/' .. lost.o, at = NOW, history = '[]', group = 'trimmed while it was in flight',
    reason = 'entry ' .. f.id .. ' was deleted from its stream (XTRIM, XDEL or MAXLEN) before it was settled; its body is lost',
  })
  local busy = s.sharded and redis.call('HGETALL', s.busy) or {}
  for i = 1, #busy, 2 do
    freeRead(s, f, busy[i])
    if busy[i + 1] == int(f.l) .. ':' .. f.id then advance(s, busy[i]) end
  end
  advance(s, f.k)
  return nil
end
local function giveBack(s, f, abandoned)
  local r = recordOf(s, f)
  if not r then return end
  leaveStream(s, f)
  r.ab = r.ab + abandoned
  -- Keeps its lane under every policy: nothing failed yet.
  if not (s.sharded and r.k) then return defer(s, r, 0, s.ordered and r.k ~= nil) end
  -- More of its key may have been handed to its consumer, and one of them may wait for a time or hold the key.
  holdBack(s, r)
  advance(s, r.k)
end
local function ring(channel) redis.call('PUBLISH', P .. ':bell', channel) end

-- ms until something happens without anyone asking; -1 when nothing will. Of shards those that the asker reads.
local function untilNext(s, levels)
  local at
  local function look(zset)
    local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
    local score = first[2] and tonumber(first[2])
    if score and (not at or score < at) then at = score end
  end
  if levels then
    look(s.due .. '0')
    for _, level in ipairs(levels) do look(s.due .. int(level)) end
  else
    for level = 0, s.levels - 1 do look(s.due .. int(level)) end
  end
  look(P .. ':sched:' .. s.channel)
  look(s.lease)
  return at and math.max(0, at - NOW) or -1
end
`;
