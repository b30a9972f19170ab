-- list.lua: ids of each index next to a bound.
-- KEYS: indexes  ARGV[1] '<' or '>'  ARGV[2] the bound, or ''  ARGV[3] how many at most
-- Returns for each index its ids, nearest first, then TIME. O(n log m), reads only.
local replies = {}
for i = 1, #KEYS do
  if ARGV[1] == '>' then
    replies[i] = redis.call('ZRANGEBYLEX', KEYS[i], '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
  else
    replies[i] = redis.call('ZREVRANGEBYLEX', KEYS[i], ARGV[2] == '' and '+' or '(' .. ARGV[2], '-', 'LIMIT', 0, ARGV[3])
  end
end
replies[#replies + 1] = text(now)
return replies
