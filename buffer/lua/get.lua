-- get.lua: each entry in form 2.
-- KEYS: entries. Returns for each the whole of it, '' if it is not there, '?' of another version. Then TIME.
-- O(n), reads only.
local replies = {}
for i = 1, #KEYS do replies[i] = read(KEYS[i], -1) or '?' end
replies[#replies + 1] = text(now)
return replies
