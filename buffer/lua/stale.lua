-- stale.lua: the entries of a partition that were accepted before an age, by environment the oldest ids first.
-- KEYS[1] leases  KEYS[2] environments; of one partition
-- ARGV[1] the age in us  ARGV[2] how many at most of each environment
-- Returns for each entry { tag, what it stands for, id, acceptance, status }, then TIME.
-- Names are formed from that of the leases and what the partition holds. O(environments * ARGV[2]), reads only.
local base, before = sub(KEYS[1], 1, -2), now - ARGV[1]
local replies = {}
local known = redis.call('HGETALL', KEYS[2])
for e = 1, #known, 2 do
  local tag = known[e]
  for _, id in ipairs(redis.call('ZRANGE', base .. 'i:' .. tag, 0, ARGV[2] - 1)) do
    local h = head(base .. 'e:' .. tag .. ':' .. id)
    if h and h ~= '' then
      if tonumber(sub(h, 37, 52)) > before then break end
      replies[#replies + 1] = { tag, known[e + 1], id, sub(h, 37, 52), sub(h, 2, 2) }
    end
  end
end
replies[#replies + 1] = text(now)
return replies
