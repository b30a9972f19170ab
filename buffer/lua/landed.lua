-- landed.lua: for each entry, its run may be in Postgres although nobody has leased it: a queued one counts as returned.
-- KEYS: entries
-- Returns for each entry 'd' done, or there was nothing to do; '?' of another version. Then TIME. O(n).
local replies = {}
for i = 1, #KEYS do
  local f = redis.call('HMGET', KEYS[i], 'v', 'st')
  replies[i] = 'd'
  if f[1] and f[1] ~= '1' then
    replies[i] = '?'
  elseif f[2] == 'q' then
    redis.call('HSET', KEYS[i], 'st', 'r')
  end
end
replies[#replies + 1] = text(now)
return replies
