-- fail.lua: for each entry, take it away: its run is not to come. The key is free again.
-- KEYS: for each environment of a partition   index, leases, counts, environments
--       for each run   entry
--       and one that is never there, so that this is not executed while the slot is in two places
-- ARGV[1] life of a record in ms  ARGV[2] how many environments
--   for each environment   tag
--   for each run, 2: number of its environment, token
-- Returns for each entry 'd' done, 'l' not that token's, 'g' gone, '?' of another version; then TIME.
-- The record of the key is formed from the leases' name and the hash in the entry. O(n).
local life, slotCount = tonumber(ARGV[1]), tonumber(ARGV[2])
local firstKey, firstArg = 4 * slotCount, 2 + slotCount
local replies = {}
for i = 1, #KEYS - firstKey - 1 do
  local entry, a = KEYS[firstKey + i], firstArg + 2 * (i - 1)
  local s = tonumber(ARGV[a + 1])
  local tag, k = ARGV[2 + s], 4 * (s - 1)
  local h = head(entry)
  if not h then
    replies[i] = '?'
  elseif h == '' then
    replies[i] = 'g'
  elseif sub(h, 2, 24) ~= 'l' .. ARGV[a + 2] then -- mutant unfenced-fail: elseif false then
    replies[i] = 'l'
  else
    local base = sub(KEYS[k + 2], 1, -2)
    local id = sub(entry, #base + #tag + 4)
    local bytes = counted(#read(entry, -1), h)
    redis.call('DEL', entry)
    redis.call('ZREM', KEYS[k + 1], id)
    redis.call('ZREM', KEYS[k + 2], tag .. ':' .. id)
    leave(KEYS[k + 3], KEYS[k + 4], tag, 1, bytes)
    local hash = sub(h, 84, 126)
    if hash ~= noHash then
      local name = base .. 'k:' .. hash
      local who, acc = match(redis.call('GET', name) or '', '^1|b|([^|]+)|(%d+)|')
      if who == id then redis.call('SET', name, '1|f|' .. text(acc + 1), 'PX', keep(tonumber(acc), life)) end
    end
    replies[i] = 'd'
  end
end
replies[#replies + 1] = text(now)
return replies
