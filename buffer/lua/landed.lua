-- landed.lua: for each entry, its run may be in Postgres although nobody has leased it: a queued one counts as returned.
-- KEYS: entries
-- Returns for each entry 'd' done, or there was nothing to do; '?' of another version. Then TIME. O(n).
local replies = {}
for i = 1, #KEYS do
  local h = ownHead(KEYS[i])
  replies[i] = h and 'd' or '?'
  if h and sub(h, 2, 2) == 'q' then redis.call('SETRANGE', KEYS[i], 1, 'r') end
end
replies[#replies + 1] = text(now)
return replies
