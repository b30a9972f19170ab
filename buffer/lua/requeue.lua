-- requeue.lua: for each entry, end its lease: to the front of its queue, at once or after a delay, or aside.
-- KEYS[4i-3] entry  KEYS[4i-2] leases  KEYS[4i-1] queue  KEYS[4i] dead
-- ARGV: for each entry: tag, id, token, delay in us or 'aside', '1' to count an attempt
-- Returns for each entry 'd' done, 'l' not that token's, 'g' gone, '?' of another version; then TIME.
-- The first of the call is the first of the queue. O(n).
local replies = {}
for i = #KEYS / 4, 1, -1 do
  local entry, leases, queue, dead = KEYS[4 * i - 3], KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i]
  local a = 5 * (i - 1)
  local tag, id, delay = ARGV[a + 1], ARGV[a + 2], ARGV[a + 4]
  local h = ownHead(entry)
  if not h then
    replies[i] = '?'
  elseif h == '' then
    replies[i] = 'g'
  elseif sub(h, 2, 24) ~= 'l' .. ARGV[a + 3] then -- mutant unfenced-requeue: elseif false then
    replies[i] = 'l'
  else
    local held = delay ~= 'aside' and tonumber(delay) > 0
    local attempts = tonumber(sub(h, 31, 36)) + tonumber(ARGV[a + 5])
    redis.call('SETRANGE', entry, 1, format('%s%s%s%06d', held and 'l' or 'r', noToken, sub(h, 25, 30), attempts))
    if held then
      redis.call('ZADD', leases, text(now + delay), tag .. ':' .. id)
    else
      redis.call('ZREM', leases, tag .. ':' .. id)
      if delay == 'aside' then
        redis.call('RPUSH', dead, tag .. ':' .. id)
      else
        redis.call('LPUSH', queue, id)
      end
    end
    replies[i] = 'd'
  end
end
replies[#replies + 1] = text(now)
return replies
