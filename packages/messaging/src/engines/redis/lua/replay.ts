/** Looking at what waits, and moving a subscription within what its channel keeps. */

/**
 * KEYS: prefix. ARGV: channel, encoded subscription, group, limit. Takes nothing and counts nothing.
 * Returns false when the subscription does not exist, else { levels, routing or '', bindings as JSON or '', [origin, event, 1 when it was tried or
 * redriven before else 0]... of what is due, oldest first within a priority }.
 */
export const peekDue = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
if not s then return false end
local found = {}
for level = 0, s.levels - 1 do
  for _, origin in ipairs(redis.call('ZRANGEBYSCORE', s.due .. int(level), '-inf', int(NOW), 'LIMIT', 0, ARGV[4])) do
    local r = readDef(s, origin)
    if r and not (r.x and r.x <= NOW) then found[#found + 1] = { origin, r.b, r.st and 1 or 0 } end
  end
end
return { s.levels, s.routing, redis.call('HGET', P .. ':bindings:' .. s.channel, s.group) or '', found }
`;

/**
 * The groups are made anew at a place in their streams, so nothing is pending in them. What was copied out and is in its stream from there on comes from there again,
 * so its copy goes, and so does what is before; a copy that the stream has not (trimmed meanwhile, or an edited redrive) is nowhere else and stays, with its
 * time and its attempts. The new generation makes tokens of before mean nothing. Dead letters stay, and a key that one of them holds stays held.
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, the id of the last entry that is not handed out ('$': of the last there is), 1 to move
 * nothing.
 * Returns 1 moved, or to be moved, 0 it has consumers, -1 no such subscription, -2 the channel keeps nothing for replay.
 */
export const rewind = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
local last = ARGV[4]
if not s then return -1 end
if (redis.call('HGET', P .. ':channel:' .. s.channel, 'keepMs') or '') == '' then return -2 end
if redis.call('ZCOUNT', s.consumers, int(NOW), '+inf') > 0 then return 0 end
if ARGV[5] == '1' then return 1 end

local lastMs, lastSeq = string.match(last, '^(%d+)-(%d+)$')
local function isBefore(ms, seq)
  if last == '$' then return true end
  if not lastMs then return false end
  if pad(ms, 20) ~= pad(lastMs, 20) then return pad(ms, 20) < pad(lastMs, 20) end
  return pad(seq, 20) <= pad(lastSeq, 20)
end
-- A copy of what the stream brings again goes. What was redriven or corrected has a place of its own, so nothing of the stream can take it.
local function stays(r)
  local ms, seq = string.match(r.o, '^(%d+)-(%d+)')
  if isBefore(ms, seq) then return false end
  local id = int(tonumber(ms)) .. '-' .. int(tonumber(seq))
  local entry = redis.call('XRANGE', streamOf(s.channel, r.l), id, id)[1]
  return not entry or readEntry(id, r.l, entry[2]).b ~= r.b
end
local function keep(r, wasOut)
  local due = redis.call('ZSCORE', s.due .. int(r.l), r.o)
  drop(s, r.o, r.k, r.l)
  -- Its consumer is gone, or it would have given it back.
  if wasOut then r.ab = r.ab + 1 end
  defer(s, r, wasOut and 0 or due and tonumber(due), r.lane)
end

local out, keys = {}, {}
for _, token in ipairs(redis.call('ZRANGE', s.lease, 0, -1)) do
  local f = flightOf(token)
  if f and f.o then out[f.o] = true end
end
redis.call('DEL', s.lease, s.busy)
for _, origin in ipairs(redis.call('HKEYS', s.def)) do
  local r = readDef(s, origin)
  if not stays(r) then drop(s, origin, r.k, r.l)
  else
    if r.k then keys[r.k] = true end
    keep(r, out[origin])
  end
end
for key in pairs(keys) do advance(s, key) end
for level = 0, s.levels - 1 do
  local stream = streamOf(s.channel, level)
  redis.call('XGROUP', 'DESTROY', stream, s.group)
  redis.call('XGROUP', 'CREATE', stream, s.group, last)
end
redis.call('HINCRBY', s.meta, 'generation', 1)
return 1
`;
