-- reap.lua: return to the front of their queues the entries whose lease or delay is over.
-- KEYS[1] leases  KEYS[2] counts  KEYS[3] environments  KEYS[4] is never there, so that
-- this is not executed while the slot is in two places; all of one partition
-- ARGV[1] how many at most
-- Returns how many were returned, how many of those had been leased, how many were met; then TIME. The oldest comes
-- to the front. Entries' and queues' names are formed from that of the leases and its members. O(n).
local base = sub(KEYS[1], 1, -2)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'LIMIT', 0, ARGV[1])
local returned, lapsed = 0, 0
for i = #due, 1, -1 do
  local tag, id = match(due[i], '^([^:]+):(.+)$')
  if tag then
    local entry = base .. 'e:' .. tag .. ':' .. id
    local h = ownHead(entry)
    if not h then
      redis.call('RPUSH', base .. 'dead', due[i])
    elseif h == '' then
      if redis.call('ZREM', base .. 'i:' .. tag, id) == 1 then leave(KEYS[2], KEYS[3], tag, 1, 0) end
    elseif sub(h, 2, 2) == 'l' then
      local was = sub(h, 3, 24) == noToken and 0 or 1
      lapsed = lapsed + was
      redis.call('SETRANGE', entry, 1, format('r%s%06d', noToken, tonumber(sub(h, 25, 30)) + was))
      redis.call('LPUSH', base .. 'q:' .. tag, id) -- mutant lapsed-lease-strands: returned = returned - 1
      returned = returned + 1
    end
  end
  redis.call('ZREM', KEYS[1], due[i])
end
return { returned, lapsed, #due, text(now) }
