-- heads.lua: what a partition has to drain.
-- KEYS[4i-3] environments  KEYS[4i-2] counts  KEYS[4i-1] leases  KEYS[4i] dead
-- Returns for each partition { counts of all, leased, due, dead, the first dead, and for each environment its tag, what it
-- stands for, its counts, how many wait, the first of them, when that was accepted }, then TIME.
-- Queues' and entries' names are formed from that of the leases and what the partition holds. O(environments), reads only.
local replies = {}
for i = 1, #KEYS / 4 do
  local envs, usage, leases, dead = KEYS[4 * i - 3], KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i]
  local base = sub(leases, 1, -2)
  local reply = {
    redis.call('HGET', usage, '*') or '',
    redis.call('ZCARD', leases),
    redis.call('ZCOUNT', leases, '-inf', text(now)),
    redis.call('LLEN', dead),
    redis.call('LRANGE', dead, 0, 99),
  }
  local known = redis.call('HGETALL', envs)
  for e = 1, #known, 2 do
    local tag = known[e]
    local queue = base .. 'q:' .. tag
    local id = redis.call('LINDEX', queue, 0) or ''
    local h = id ~= '' and head(base .. 'e:' .. tag .. ':' .. id) or ''
    local n = #reply
    reply[n + 1], reply[n + 2] = tag, known[e + 1]
    reply[n + 3] = redis.call('HGET', usage, tag) or ''
    reply[n + 4] = redis.call('LLEN', queue)
    reply[n + 5] = id
    reply[n + 6] = sub(h, 37, 52)
  end
  replies[i] = reply
end
replies[#replies + 1] = text(now)
return replies
