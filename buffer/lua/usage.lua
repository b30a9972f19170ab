-- usage.lua: one count of each partition, '' if there is none.
-- KEYS: counts  ARGV[1] tag of an environment. Returns one text for each, then TIME. O(n), reads only.
local replies = {}
for i = 1, #KEYS do replies[i] = redis.call('HGET', KEYS[i], ARGV[1]) or '' end
replies[#replies + 1] = text(now)
return replies
