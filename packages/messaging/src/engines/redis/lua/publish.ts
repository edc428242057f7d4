/**
 * Stores messages in the order given, each at once or when it is due.
 *
 * On a channel with shards the key gives the stream, and there are no levels.
 *
 * KEYS: prefix. ARGV, six per message: channel, level, delay in ms ('' for none), key, expiry in ms ('' for none), event.
 * Returns one number per message: 1 stored, 0 the channel does not exist (nothing was stored of it).
 * It may not run without memory (no allow-oom): the server refuses it whole, before its first write.
 */
export const publish = `
local results, rung, streams, shards = {}, {}, {}, {}
local function shardsOf(channel)
  if shards[channel] == nil then shards[channel] = tonumber(redis.call('HGET', P .. ':channel:' .. channel, 'shards') or '') or false end
  return shards[channel]
end
for i = 1, #ARGV, 6 do
  local channel, level, delay = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local key, exp, event = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  if shardsOf(channel) then level = shardOf(key, shardsOf(channel), (i - 1) / 6 + time[2]) end
  local named = channel .. ':' .. level
  local stream = streams[named] or streamOf(channel, level)
  streams[named] = stream
  local stored = false
  if delay == nil or delay <= 0 then
    stored = redis.call('XADD', stream, 'NOMKSTREAM', '*', 'event', event, 'key', key, 'exp', exp)
  elseif redis.call('EXISTS', stream) == 1 then
    local member = pad(int(redis.call('INCR', P .. ':seq')), 16)
    redis.call('HSET', P .. ':schedbody:' .. channel, member, cmsgpack.pack({ l = level, b = event, k = key, x = exp }))
    redis.call('ZADD', P .. ':sched:' .. channel, int(SOON + delay), member)
    rung[channel] = true
    stored = true
  end
  results[#results + 1] = stored and 1 or 0
end
for channel in pairs(rung) do ring(channel) end
return results
`;
