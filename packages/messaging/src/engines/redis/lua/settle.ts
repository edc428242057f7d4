/**
 * Settles hand-outs, all in one step. A token that is not in flight any more changes nothing.
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, ring 0|1 (this consumer will not look itself), then per settlement its letter, token and
 *   a          nothing: done
 *   l          nothing: given back untouched
 *   r          delay in ms, state
 *   d          id, reason, group, time, history as JSON, state on redrive.
 * Returns { 1 settled or 0 lost, for each, something is ready now 0|1, ms until the next event or -1 }.
 */
export const settle = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
local results, acked, landed = {}, {}, {}
local released = false
local i = 5
local extra = { a = 0, l = 0, r = 2, d = 6 }

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

while i <= #ARGV do
  local kind, token = ARGV[i], ARGV[i + 1]
  local f = s and flightOf(s, token)
  if f then
    land(s, token, f)
    if kind == 'a' then ack(f)
    elseif kind == 'l' then giveBack(s, f, 0) released = true
    elseif kind == 'r' then retry(f, tonumber(ARGV[i + 2]), ARGV[i + 3])
    else
      deadLetter(f, {
        id = ARGV[i + 2], reason = ARGV[i + 3], group = ARGV[i + 4], at = tonumber(ARGV[i + 5]), history = ARGV[i + 6], state = ARGV[i + 7],
      })
    end
  end
  results[#results + 1] = f and 1 or 0
  i = i + 2 + extra[kind]
end
if not s then return { results, 0, -1 } end
for level, ids in pairs(acked) do
  for from = 1, #ids, CHUNK do
    redis.call('XACK', streamOf(s.channel, level), s.group, unpack(ids, from, math.min(from + CHUNK - 1, #ids)))
  end
end
if released or (s.woke and ARGV[4] == '1') then ring(s.channel) end
return { results, s.woke and 1 or 0, untilNext(s) }
`;
