-- get.lua: the fields of each entry; none if it is not there.
-- KEYS: entries. Returns for each its fields, then TIME. O(n), reads only.
local replies = {}
for i = 1, #KEYS do replies[i] = redis.call('HGETALL', KEYS[i]) end
replies[#replies + 1] = text(now)
return replies
