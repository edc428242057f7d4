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
 * The groups are made anew at a place in their streams, so nothing is pending in them, and everything that was copied out is forgotten. The new
 * generation makes tokens of before mean nothing. Dead letters stay, and a key that one of them holds stays held.
 *
 * KEYS: prefix. ARGV: channel, encoded subscription, group, the id of the last entry that is not handed out ('$': of the last there is), 1 to move
 * nothing.
 * Returns 1 moved, or to be moved, 0 it has consumers, -1 no such subscription, -2 the channel keeps nothing for replay.
 */
export const rewind = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
if not s then return -1 end
if (redis.call('HGET', P .. ':channel:' .. s.channel, 'keepMs') or '') == '' then return -2 end
if redis.call('ZCOUNT', s.consumers, int(NOW), '+inf') > 0 then return 0 end
if ARGV[5] == '1' then return 1 end
for _, origin in ipairs(redis.call('HKEYS', s.def)) do
  local r = readDef(s, origin)
  if r.k then redis.call('DEL', s.lane .. r.k) end
end
redis.call('DEL', s.def, s.age, s.lease, s.busy)
for level = 0, s.levels - 1 do
  local stream = streamOf(s.channel, level)
  redis.call('DEL', s.due .. int(level))
  redis.call('XGROUP', 'DESTROY', stream, s.group)
  redis.call('XGROUP', 'CREATE', stream, s.group, ARGV[4])
end
redis.call('HINCRBY', s.meta, 'generation', 1)
return 1
`;
