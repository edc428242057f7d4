/** Putting dead letters back and forgetting them, by id. Which ids a filter means is found outside: a scan here would stop the server. */

const removing = `
local subs = {}
local function subOf(letter)
  local name = letter.channel .. '/' .. letter.encoded
  if subs[name] == nil then subs[name] = openSub(letter.channel, letter.encoded, letter.subscription) or false end
  return subs[name]
end
local function read(id)
  local text = redis.call('HGET', P .. ':letters', id)
  return text and cjson.decode(text) or nil
end
local function remove(letter)
  redis.call('HDEL', P .. ':letters', letter.id)
  redis.call('ZREM', P .. ':dead', letter.id)
  local base = P .. ':sub:' .. letter.channel .. ':' .. letter.encoded
  if redis.call('HEXISTS', base .. ':groups', letter.group) == 1 and redis.call('HINCRBY', base .. ':groups', letter.group, -1) <= 0 then
    redis.call('HDEL', base .. ':groups', letter.group)
  end
  if letter.lane then redis.call('ZREM', base .. ':park:' .. letter.key, letter.origin .. '|' .. letter.id) end
end
local function ringAll()
  for _, s in pairs(subs) do if s then ring(s.channel) end end
end
`;

const reviving = `
local moved = 0
-- Behind its entry, and in no place that anything else has: another letter of the same message (it failed again after a rewind), or the entry itself once it is
-- copied out, would take its place, and what is out would end both.
local function placeFor(letter)
  return string.match(letter.origin, '^[^+]*') .. '+' .. pad(int(redis.call('INCR', P .. ':seq')), 16)
end
local function reviveOne(s, letter, first)
  remove(letter)
  local lane = letter.lane and s.ordered or false
  local r = {
    o = placeFor(letter), l = letter.level, b = letter.body, k = letter.key, x = letter.expires, at = letter.stored, ab = 0, st = letter.state,
  }
  local at = 0
  if lane and not first then at = nil end
  defer(s, r, at, lane)
  moved = moved + 1
end
-- A letter that holds its key goes back with the whole sequence behind it, oldest first, and only the first is due.
local function revive(s, letter)
  if not letter.lane then return reviveOne(s, letter, true) end
  for n, member in ipairs(redis.call('ZRANGE', s.park .. letter.key, 0, -1)) do
    local id = string.sub(member, string.find(member, '|', 1, true) + 1)
    local one = id == letter.id and letter or read(id)
    if one then reviveOne(s, one, n == 1) end
  end
end
`;

/** KEYS: prefix. ARGV: ids. Returns { moved, stuck (their subscription does not exist) }. */
export const redrive = `${removing}${reviving}
local stuck = 0
for _, id in ipairs(ARGV) do
  local letter = read(id)
  local s = letter and subOf(letter)
  if s then revive(s, letter)
  elseif letter then stuck = stuck + 1 end
end
ringAll()
return { moved, stuck }
`;

/**
 * KEYS: prefix. ARGV: id, event, key, expiry in ms ('' for none), state. The event takes the place of the letter's message; a sequence behind it
 * follows. Returns 1, or 0 when there is no such letter or its subscription does not exist.
 */
export const redriveEdited = `${removing}${reviving}
local letter = read(ARGV[1])
local s = letter and subOf(letter)
if not s then return 0 end
letter.body, letter.expires, letter.state = ARGV[2], tonumber(ARGV[4]), ARGV[5]
if not letter.lane then letter.key = ARGV[3] ~= '' and ARGV[3] or nil end
revive(s, letter)
ringAll()
return 1
`;

/** KEYS: prefix. ARGV: ids. What waited behind a letter goes on once nothing of its key is parked. Returns how many were forgotten. */
export const discard = `${removing}
local forgotten = 0
for _, id in ipairs(ARGV) do
  local letter = read(id)
  if letter then
    local s = subOf(letter)
    remove(letter)
    forgotten = forgotten + 1
    if s and letter.lane then advance(s, letter.key) end
  end
end
ringAll()
return forgotten
`;
