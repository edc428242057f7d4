/** Making and removing channels and subscriptions. Each may be called again. */

/**
 * KEYS: prefix. ARGV: channel, order, onFailure, levels, owner ('' unless ephemeral), routing, ms that settled messages stay ('' for none), shards of a
 * new channel with order and without priorities (0: none).
 * Makes the streams, and the groups of known subscriptions on new ones. The number of levels never shrinks: what is in a level would be out of reach. A channel has
 * the shards that it got when it was made, or what is in them would be out of order. Returns 1, or 0 when it has shards and priorities are asked for: nothing is
 * changed then.
 */
export const declareChannel = `
local channel, levels = ARGV[1], tonumber(ARGV[4])
local key = P .. ':channel:' .. channel
local known = redis.call('HMGET', key, 'levels', 'shards')
if known[2] and levels > 1 then return 0 end
if not known[1] and ARGV[2] == 'key' and levels == 1 and tonumber(ARGV[8]) > 0 then
  redis.call('HSET', key, 'shards', ARGV[8])
  levels = tonumber(ARGV[8]) + 1
end
levels = math.max(levels, tonumber(known[1] or '1'))
redis.call('HSET', key, 'order', ARGV[2], 'onFailure', ARGV[3], 'levels', int(levels), 'owner', ARGV[5], 'routing', ARGV[6], 'keepMs', ARGV[7])
redis.call('SADD', P .. ':channels', channel)
for level = 0, levels - 1 do
  local stream = streamOf(channel, level)
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, 'making', '0', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', stream, 'making')
  end
  for _, group in ipairs(redis.call('SMEMBERS', P .. ':subs:' .. channel)) do
    redis.pcall('XGROUP', 'CREATE', stream, group, '0')
  end
end
return 1
`;

/**
 * KEYS: prefix. ARGV: channel, group, bindings as JSON ('': those on record stay). Returns 1, or 0 when there is no such channel. A new group
 * begins with the oldest entry kept; consumers that run learn of other bindings by the bell.
 */
export const declareSubscription = `
local levels = redis.call('HGET', P .. ':channel:' .. ARGV[1], 'levels')
if not levels then return 0 end
redis.call('SADD', P .. ':subs:' .. ARGV[1], ARGV[2])
for level = 0, tonumber(levels) - 1 do
  redis.pcall('XGROUP', 'CREATE', streamOf(ARGV[1], level), ARGV[2], '0')
end
if ARGV[3] ~= '' and redis.call('HGET', P .. ':bindings:' .. ARGV[1], ARGV[2]) ~= ARGV[3] then
  redis.call('HSET', P .. ':bindings:' .. ARGV[1], ARGV[2], ARGV[3])
  ring(ARGV[1])
end
return 1
`;

/**
 * KEYS: prefix. ARGV: channel, encoded subscription, group. Returns 1, or 0 when it has consumers: nothing is changed then. The keys of the subscription are left for the
 * caller to sweep; its dead letters stay.
 */
export const removeSubscription = `
local s = openSub(ARGV[1], ARGV[2], ARGV[3])
if s and redis.call('ZCOUNT', s.consumers, int(NOW), '+inf') > 0 then return 0 end
redis.call('SREM', P .. ':subs:' .. ARGV[1], ARGV[3])
redis.call('HDEL', P .. ':bindings:' .. ARGV[1], ARGV[3])
local levels = tonumber(redis.call('HGET', P .. ':channel:' .. ARGV[1], 'levels') or '0')
for level = 0, levels - 1 do redis.pcall('XGROUP', 'DESTROY', streamOf(ARGV[1], level), ARGV[3]) end
return 1
`;

/** KEYS: prefix. ARGV: channel, owner. Removes an ephemeral channel; returns 0 when it is not this owner's. */
export const removeChannel = `
local key = P .. ':channel:' .. ARGV[1]
if ARGV[2] == '' or redis.call('HGET', key, 'owner') ~= ARGV[2] then return 0 end
local levels = tonumber(redis.call('HGET', key, 'levels'))
for level = 0, levels - 1 do redis.call('UNLINK', streamOf(ARGV[1], level)) end
redis.call('UNLINK', key, P .. ':subs:' .. ARGV[1], P .. ':bindings:' .. ARGV[1], P .. ':sched:' .. ARGV[1], P .. ':schedbody:' .. ARGV[1])
redis.call('SREM', P .. ':channels', ARGV[1])
return 1
`;
