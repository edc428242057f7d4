/**
 * Settles hand-outs, all in one step. A token that is not in flight any more changes nothing.
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, ring 0|1 (this consumer will not look itself), generation, then per settlement its letter, token and
 *   a          nothing: done
 *   x          nothing: done, because it has expired; counted
 *   l          nothing: given back untouched
 *   w          what is out of its key with its consumer, '' for nothing: the same of one that waited behind it there
 *   k          key: done, of what a consumer read itself and left some of its key behind here
 *   r          delay in ms, state
 *   d          id, reason, group, time, history as JSON, state on redrive.
 * Returns { 1 settled or 0 lost, for each, something is ready now 0|1, ms until the next event or -1 }.
 */
export const settle = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
local results, acked, landed = {}, {}, {}
local released = false
local i = 6
local extra = { a = 0, x = 0, l = 0, w = 1, k = 1, r = 2, d = 6 }

local function keepsLane(r) return s.ordered and r.k ~= nil and s.onFailure ~= 'skip' end
local function ack(f)
  if f.id then
    local ids = acked[f.l] or {}
    acked[f.l] = ids
    ids[#ids + 1] = f.id
  else
    local r = readDef(s, f.o)
    drop(s, f.o, r and r.k, f.l)
  end
  advance(s, f.k)
end
-- The server has to know what is out, or what falls behind it would be handed out. Whoever ended that meanwhile has given it back before it.
local function fallBehind(f, out)
  local level, id = placeOfPending(out)
  if out ~= '' and isPending(out) and redis.call('XPENDING', streamOf(s.channel, level), s.group, id, id, 1)[1] then
    local r = f.id and redis.call('XRANGE', streamOf(s.channel, f.l), f.id, f.id)[1]
    local key = f.k or r and readEntry(f.id, f.l, r[2]).k
    if key then redis.call('HSETNX', s.busy, key, out) end
  end
  giveBack(s, f, 0)
end
local function retry(f, delay, state)
  local r = recordOf(s, f)
  if not r then return end
  leaveStream(s, f)
  r.st = state
  local lane = keepsLane(r)
  defer(s, r, delay <= 0 and NOW or SOON + delay, lane)
  if not lane then advance(s, r.k) end
end
local function deadLetter(f, letter)
  local r = recordOf(s, f)
  if not r then return end
  local holds = keepsLane(r)
  insertDead(s, r, holds, letter)
  leaveStream(s, f)
  if not f.id then drop(s, r.o, r.k, r.l) end
  if not holds then return advance(s, r.k) end
  if s.onFailure ~= 'sequencedDlq' then return end
  for _, origin in ipairs(redis.call('ZRANGE', s.lane .. r.k, 0, -1)) do
    local follower = readDef(s, origin)
    if follower then
      parkFollower(s, follower)
      drop(s, origin, follower.k, follower.l)
    end
  end
end

-- First all flights end, in few commands; then each gets what it was settled with. A token twice in one call is lost the second time.
local tokens, at = {}, {}
while i <= #ARGV do
  tokens[#tokens + 1] = ARGV[i + 1]
  at[#at + 1] = i
  i = i + 2 + extra[ARGV[i]]
end
if not s then
  for n = 1, #tokens do results[n] = 0 end
  return { results, 0, -1 }
end
local flights, free = {}, {}
for from = 1, #tokens, CHUNK do
  local last = math.min(from + CHUNK - 1, #tokens)
  local ends = redis.call('ZMSCORE', s.lease, unpack(tokens, from, last))
  for n = from, last do
    local f
    if isPending(tokens[n]) then f = takePending(s, tokens[n], ARGV[5])
    else f = ends[n - from + 1] and not landed[tokens[n]] and flightOf(tokens[n]) end
    flights[n] = f
    landed[tokens[n]] = true
    if f and f.k then free[#free + 1] = f.k end
  end
  redis.call('ZREM', s.lease, unpack(tokens, from, last))
end
for from = 1, #free, CHUNK do redis.call('HDEL', s.busy, unpack(free, from, math.min(from + CHUNK - 1, #free))) end
for n, where in ipairs(at) do
  local f, kind = flights[n], ARGV[where]
  if f and kind == 'a' then ack(f)
  elseif f and kind == 'x' then ack(f) redis.call('HINCRBY', s.meta, 'expired', 1)
  elseif f and kind == 'l' then giveBack(s, f, 0) released = true
  elseif f and kind == 'w' then fallBehind(f, ARGV[where + 2])
  elseif kind == 'k' then
    if f then ack(f) end
    local level, id = placeOfPending(tokens[n])
    freeRead(s, { l = level, id = id }, ARGV[where + 2])
    advance(s, ARGV[where + 2])
  elseif f and kind == 'r' then retry(f, tonumber(ARGV[where + 2]), ARGV[where + 3])
  elseif f then
    deadLetter(f, {
      id = ARGV[where + 2], reason = ARGV[where + 3], group = ARGV[where + 4], at = tonumber(ARGV[where + 5]),
      history = ARGV[where + 6], state = ARGV[where + 7],
    })
  end
  results[n] = f and 1 or 0
end
for level, ids in pairs(acked) do
  for from = 1, #ids, CHUNK do
    redis.call('XACK', streamOf(s.channel, level), s.group, unpack(ids, from, math.min(from + CHUNK - 1, #ids)))
  end
end
if released or (s.woke and ARGV[4] == '1') then ring(s.channel) end
return { results, s.woke and 1 or 0, untilNext(s) }
`;
