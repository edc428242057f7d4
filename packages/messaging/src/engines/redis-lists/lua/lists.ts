/**
 * The moves of the engine on lists. Nothing is known of a message but its text, so a hand-out is two things: the text in the list of the consumer that
 * took it (LMOVE), where anybody can see it, and a record of what the toolkit knows of it.
 *
 * Keys, under the prefix P (KEYS[1]), for a channel whose list is L:
 *   L                      the team's list: pushed on the left, taken from the right
 *   B = P:lists:<channel>  hash { list, subscription, ephemeral, at: when it was declared last };  P:lists  set of channels;  P:lists:dead  list of dead letters as JSON
 *   B:taken:<consumer>     list of the texts that a consumer has on hand
 *   B:out, B:lease         token -> record { n, b text, st state, ab abandoned }, token -> end of its lease
 *   B:again, B:records     what was tried or given back: zset of numbers by due time, number -> record; it goes out before what is new
 *   B:consumers            zset: consumer -> until when it counts as alive;  B:groups, B:meta  counters
 *
 * A number n is given at the first hand-out and kept, so what was given back keeps its order. Waits are lengths, measured by the server's clock.
 */
const listsPrelude = `
local P = KEYS[1]
local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)
local SOON = time[1] * 1000 + math.ceil(time[2] / 1000)
local ALIVE_MS, FORGET_MS = 5000, 60000
local channel = ARGV[1]
local B = P .. ':lists:' .. channel
local function int(n) return string.format('%.0f', n) end
local function pad(n) return string.format('%016.0f', n) end
local L = redis.call('HGET', B, 'list')
local function takenOf(consumer) return B .. ':taken:' .. consumer end
local function consumerOf(token) return string.match(token, '^(.*)|[^|]*$') end
-- What is in a list, and what is known of it; the counts of its dead letters stay.
local function empty(b, list)
  for _, consumer in ipairs(redis.call('ZRANGE', b .. ':consumers', 0, -1)) do redis.call('UNLINK', b .. ':taken:' .. consumer) end
  redis.call('UNLINK', list, b .. ':out', b .. ':lease', b .. ':again', b .. ':records', b .. ':consumers', b .. ':meta')
end
local function forget(b, list, name)
  empty(b, list)
  redis.call('UNLINK', b)
  redis.call('SREM', P .. ':lists', name)
end
local function putAgain(r, at)
  redis.call('HSET', B .. ':records', pad(r.n), cjson.encode(r))
  redis.call('ZADD', B .. ':again', int(at), pad(r.n))
end
-- Ends a hand-out and returns its record, or nil when it is not out (any more): that is the fence.
local function land(token)
  local text = redis.call('HGET', B .. ':out', token)
  if not text then return nil end
  local r = cjson.decode(text)
  redis.call('HDEL', B .. ':out', token)
  redis.call('ZREM', B .. ':lease', token)
  redis.call('LREM', takenOf(consumerOf(token)), -1, r.b)
  return r
end
local function lend(consumer, r, leaseMs)
  local token = consumer .. '|' .. int(redis.call('HINCRBY', B .. ':meta', 'tokens', 1))
  redis.call('HSET', B .. ':out', token, cjson.encode(r))
  redis.call('ZADD', B .. ':lease', int(NOW + leaseMs), token)
  return token
end
local function newRecord(text) return { n = redis.call('HINCRBY', B .. ':meta', 'numbers', 1), b = text, ab = 0 } end
local function tokensOf(consumer)
  local found = {}
  for _, token in ipairs(redis.call('ZRANGE', B .. ':lease', 0, -1)) do
    if consumerOf(token) == consumer then found[#found + 1] = token end
  end
  return found
end
-- What a consumer took and no record tells of: its answer was lost on the way. It goes back to where it was taken from, the newest first.
local function returnOrphans(consumer)
  local known = {}
  for _, token in ipairs(tokensOf(consumer)) do
    local b = cjson.decode(redis.call('HGET', B .. ':out', token)).b
    known[b] = (known[b] or 0) + 1
  end
  local orphans = {}
  for _, text in ipairs(redis.call('LRANGE', takenOf(consumer), 0, -1)) do
    if (known[text] or 0) > 0 then known[text] = known[text] - 1 else orphans[#orphans + 1] = text end
  end
  for _, text in ipairs(orphans) do
    redis.call('LREM', takenOf(consumer), 1, text)
    redis.call('RPUSH', L, text)
  end
  return #orphans
end
-- What a consumer holds has its text in the list of what it took: where that is empty nothing is looked through, because each claim asks for each that is gone.
local function takeBack(consumer, abandoned)
  if redis.call('EXISTS', takenOf(consumer)) == 0 then return 0 end
  for _, token in ipairs(tokensOf(consumer)) do
    local r = land(token)
    r.ab = r.ab + abandoned
    putAgain(r, 0)
  end
  return returnOrphans(consumer)
end
local function untilNext()
  local at
  for _, key in ipairs({ B .. ':again', B .. ':lease' }) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] and (not at or tonumber(first[2]) < at) then at = tonumber(first[2]) end
  end
  return at and math.max(0, at - NOW) or -1
end
`;

/**
 * ARGV: channel, list, subscription ('' for none), ephemeral 0|1. Returns the name of the subscription that has the list, which is another one when
 * this one is refused.
 *
 * Whoever declares a channel of replies takes away those whose asker was killed and has shown no sign of life for a day, as long as replies are kept. It looks at so many of all
 * names, drawn at random: each process leaves one at most, so none are left in the long run, and no declare holds up the server for long.
 */
export const listsDeclare = `${listsPrelude}
redis.call('HSET', B, 'list', ARGV[2], 'ephemeral', ARGV[4], 'at', int(NOW))
redis.call('SADD', P .. ':lists', channel)
if ARGV[3] ~= '' then redis.call('HSETNX', B, 'subscription', ARGV[3]) end
local GONE_MS, LOOKED_AT = 86400000, 100
for _, name in ipairs(ARGV[4] == '1' and redis.call('SRANDMEMBER', P .. ':lists', LOOKED_AT) or {}) do
  local b = P .. ':lists:' .. name
  local has = redis.call('HMGET', b, 'ephemeral', 'at', 'list')
  local last = redis.call('ZRANGE', b .. ':consumers', -1, -1, 'WITHSCORES')[2]
  if has[1] == '1' and math.max(tonumber(has[2] or '0'), tonumber(last or '0')) < NOW - GONE_MS then forget(b, has[3], name) end
end
return redis.call('HGET', B, 'subscription') or ''
`;

/**
 * ARGV: channel, subscription ('' for a channel of replies, altogether). Forgets the subscription with its backlog. Returns 1, 0 when the channel has another one, or -1 when that
 * has consumers: nothing is changed then.
 */
export const listsRemove = `${listsPrelude}
if not L then return 0 end
if ARGV[2] ~= '' and redis.call('HGET', B, 'subscription') ~= ARGV[2] then return 0 end
if ARGV[2] ~= '' and redis.call('ZCOUNT', B .. ':consumers', '(' .. int(NOW), '+inf') > 0 then return -1 end
if ARGV[2] == '' then
  forget(B, L, channel)
  return 1
end
empty(B, L)
redis.call('HDEL', B, 'subscription')
return 1
`;

/** ARGV: channel, events. All or none. Returns 1, or 0 when the channel does not exist. Replies that nobody fetches are gone after a day. */
export const listsPublish = `${listsPrelude}
if not L then return 0 end
for i = 2, #ARGV do redis.call('LPUSH', L, ARGV[i]) end
if redis.call('HGET', B, 'ephemeral') == '1' then redis.call('EXPIRE', L, 86400) end
return 1
`;

/**
 * ARGV: channel, consumer, room, lease in ms. Says that the consumer is alive, takes back what dead ones and ended leases held, then hands out.
 * Returns false when the channel does not exist, else { token, text, state or nil, abandoned, number: of each; ms until the next event or -1 }.
 */
export const listsClaim = `${listsPrelude}
if not L then return false end
local consumer, room, leaseMs = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZADD', B .. ':consumers', int(NOW + ALIVE_MS), consumer)
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', B .. ':consumers', '-inf', int(NOW))) do
  takeBack(dead, 1)
  if tonumber(redis.call('ZSCORE', B .. ':consumers', dead)) < NOW - FORGET_MS then redis.call('ZREM', B .. ':consumers', dead) end
end
for _, token in ipairs(redis.call('ZRANGEBYSCORE', B .. ':lease', '-inf', int(NOW))) do
  local r = land(token)
  if r then
    r.ab = r.ab + 1
    putAgain(r, 0)
  end
end
local given = {}
local function give(r)
  local n = #given
  given[n + 1], given[n + 2], given[n + 3], given[n + 4], given[n + 5] = lend(consumer, r, leaseMs), r.b, r.st or false, r.ab, r.n
  room = room - 1
end
for _, number in ipairs(room > 0 and redis.call('ZRANGEBYSCORE', B .. ':again', '-inf', int(NOW), 'LIMIT', 0, room) or {}) do
  local r = cjson.decode(redis.call('HGET', B .. ':records', number))
  redis.call('ZREM', B .. ':again', number)
  redis.call('HDEL', B .. ':records', number)
  redis.call('LPUSH', takenOf(consumer), r.b)
  give(r)
end
while room > 0 do
  local text = redis.call('LMOVE', L, takenOf(consumer), 'RIGHT', 'LEFT')
  if not text then break end
  give(newRecord(text))
end
return { given, untilNext() }
`;

/** ARGV: channel, consumer, text, lease in ms. What BLMOVE brought becomes a hand-out: { token, number }, or false when it was taken back meanwhile. */
export const listsAdopt = `${listsPrelude}
if not redis.call('LPOS', takenOf(ARGV[2]), ARGV[3]) then return false end
local r = newRecord(ARGV[3])
return { lend(ARGV[2], r, tonumber(ARGV[4])), r.n }
`;

/** ARGV: channel, consumer, leaves 0|1. Gives back what no record tells of; one that leaves gives back everything, uncounted. Returns how many orphans there were. */
export const listsTidy = `${listsPrelude}
if not L then return 0 end
if ARGV[3] == '0' then return returnOrphans(ARGV[2]) end
local orphans = takeBack(ARGV[2], 0)
-- It stays known for a while: a move that is still on its way to its connection is found there.
redis.call('ZADD', B .. ':consumers', int(NOW), ARGV[2])
return orphans
`;

/** ARGV: channel, lease in ms, tokens. Returns 1 or 0 (lost) for each. */
export const listsExtend = `${listsPrelude}
local results = {}
for i = 3, #ARGV do
  local isOut = redis.call('ZSCORE', B .. ':lease', ARGV[i])
  if isOut then redis.call('ZADD', B .. ':lease', int(NOW + tonumber(ARGV[2])), ARGV[i]) end
  results[#results + 1] = isOut and 1 or 0
end
return results
`;

/**
 * ARGV: channel, then per settlement its letter and token and, for a (done), x (done, expired) and l (given back) nothing, for r delay in ms and state,
 * for d the letter as JSON (its text and number are added here) and its group. Returns { 1 settled or 0 lost, for each; ms until the next event or -1 }.
 */
export const listsSettle = `${listsPrelude}
local results, i = {}, 2
local extra = { a = 0, x = 0, l = 0, r = 2, d = 2 }
while i <= #ARGV do
  local kind, r = ARGV[i], land(ARGV[i + 1])
  results[#results + 1] = r and 1 or 0
  if r and kind == 'l' then putAgain(r, 0)
  elseif r and kind == 'x' then redis.call('HINCRBY', B .. ':meta', 'expired', 1)
  elseif r and kind == 'r' then
    r.st = ARGV[i + 3]
    local delay = tonumber(ARGV[i + 2])
    putAgain(r, delay <= 0 and NOW or SOON + delay)
  elseif r and kind == 'd' then
    local letter = cjson.decode(ARGV[i + 2])
    letter.body, letter.n = r.b, r.n
    redis.call('RPUSH', P .. ':lists:dead', cjson.encode(letter))
    redis.call('HINCRBY', B .. ':groups', ARGV[i + 3], 1)
  end
  i = i + 2 + extra[kind]
end
return { results, untilNext() }
`;

/**
 * ARGV: channel, then four per letter: the letter as it is stored, its group, the text that goes back ('' to forget it), state. A letter that
 * somebody else moved meanwhile is passed over. Returns how many were moved.
 */
export const listsUnpark = `${listsPrelude}
local moved = 0
for i = 2, #ARGV, 4 do
  local gone = L and redis.call('LREM', P .. ':lists:dead', 1, ARGV[i]) == 1
  if gone then
    moved = moved + 1
    if redis.call('HINCRBY', B .. ':groups', ARGV[i + 1], -1) <= 0 then redis.call('HDEL', B .. ':groups', ARGV[i + 1]) end
    if ARGV[i + 2] ~= '' then
      putAgain({ n = cjson.decode(ARGV[i]).n, b = ARGV[i + 2], ab = 0, st = ARGV[i + 3] }, 0)
    end
  end
end
return moved
`;

/** ARGV: channel. Returns { ready, delayed, in flight, expired, consumers, subscription or '', [group, count]..., the oldest text or '' }. */
export const listsInspect = `${listsPrelude}
local due = redis.call('ZCOUNT', B .. ':again', '-inf', int(NOW))
local groups, flat = {}, redis.call('HGETALL', B .. ':groups')
for n = 1, #flat, 2 do groups[#groups + 1] = { flat[n], tonumber(flat[n + 1]) } end
return {
  (L and redis.call('LLEN', L) or 0) + due, redis.call('ZCARD', B .. ':again') - due, redis.call('ZCARD', B .. ':lease'),
  tonumber(redis.call('HGET', B .. ':meta', 'expired') or '0'), redis.call('ZCOUNT', B .. ':consumers', '(' .. int(NOW), '+inf'),
  redis.call('HGET', B, 'subscription') or '', groups, L and redis.call('LINDEX', L, -1) or '',
}
`;

/** ARGV: channel, limit. Returns the texts of what waits, with its number or 0, the first to go out first: { text, number }... */
export const listsPeek = `${listsPrelude}
local found, limit = {}, tonumber(ARGV[2])
for _, number in ipairs(redis.call('ZRANGEBYSCORE', B .. ':again', '-inf', int(NOW), 'LIMIT', 0, limit)) do
  found[#found + 1] = { cjson.decode(redis.call('HGET', B .. ':records', number)).b, tonumber(number) }
end
if L and #found < limit then
  local texts = redis.call('LRANGE', L, -(limit - #found), -1)
  for n = #texts, 1, -1 do found[#found + 1] = { texts[n], 0 } end
end
return found
`;
