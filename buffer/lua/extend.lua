-- extend.lua: for each entry, move the end of its lease.
-- KEYS[2i-1] entry  KEYS[2i] leases
-- ARGV[1] TTL in us; for each entry: tag, id, token
-- Returns for each entry 'd' done, 'l' not that token's, 'g' gone, '?' of another version; then TIME. O(n).
local replies = {}
for i = 1, #KEYS / 2 do
  local entry, a = KEYS[2 * i - 1], 1 + 3 * (i - 1)
  local h = head(entry)
  if not h then
    replies[i] = '?'
  elseif h == '' then
    replies[i] = 'g'
  elseif sub(h, 2, 24) == 'l' .. ARGV[a + 3] then
    redis.call('ZADD', KEYS[2 * i], text(now + ARGV[1]), ARGV[a + 1] .. ':' .. ARGV[a + 2])
    replies[i] = 'd'
  else
    replies[i] = 'l'
  end
end
replies[#replies + 1] = text(now)
return replies
