-- fail.lua: for each entry, take it away: its run is not to come. The key is free again.
-- KEYS[5i-4] entry  KEYS[5i-3] index  KEYS[5i-2] leases  KEYS[5i-1] counts  KEYS[5i] environments
-- ARGV[1] life of a record in ms; for each entry: tag, id, token
-- Returns for each entry 'd' done, 'l' not that token's, 'g' gone, '?' of another version; then TIME.
-- The record of the key is formed from the entry's name and the hash in it. O(n).
local replies = {}
for i = 1, #KEYS / 5 do
  local entry, a = KEYS[5 * i - 4], 1 + 3 * (i - 1)
  local tag, id = ARGV[a + 1], ARGV[a + 2]
  local f = redis.call('HMGET', entry, 'v', 'st', 't', 'h', 'b')
  if not f[1] then
    replies[i] = 'g'
  elseif f[1] ~= '1' then
    replies[i] = '?'
  elseif f[2] ~= 'l' or f[3] ~= ARGV[a + 3] then
    replies[i] = 'l'
  else
    redis.call('DEL', entry)
    redis.call('ZREM', KEYS[5 * i - 3], id)
    redis.call('ZREM', KEYS[5 * i - 2], tag .. ':' .. id)
    leave(KEYS[5 * i - 1], KEYS[5 * i], tag, tonumber(f[5] or 0))
    if f[4] then
      local name = sub(entry, 1, -(#tag + #id + 4)) .. 'k:' .. f[4]
      local who, acc = match(redis.call('GET', name) or '', '^1|b|([^|]+)|(%d+)|')
      if who == id then redis.call('SET', name, '1|f|' .. text(acc + 1), 'PX', keep(tonumber(acc), tonumber(ARGV[1]))) end
    end
    replies[i] = 'd'
  end
end
replies[#replies + 1] = text(now)
return replies
