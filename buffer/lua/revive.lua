-- revive.lua: return what was moved aside to the front of its queue, if this version knows the entry.
-- KEYS[1] dead  KEYS[2] counts  KEYS[3] environments  KEYS[4] is never there, so that
-- this is not executed while the slot is in two places; all of one partition
-- ARGV[1] how many at most
-- Returns how many were returned and how many were met; then TIME. O(n).
local base = sub(KEYS[1], 1, -5)
local dead = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
local returned = 0
if #dead > 0 then redis.call('LTRIM', KEYS[1], #dead, -1) end
for i = #dead, 1, -1 do
  local tag, id = match(dead[i], '^([^:]+):(.+)$')
  if tag then
    local h = ownHead(base .. 'e:' .. tag .. ':' .. id)
    local status = h and sub(h, 2, 2)
    if not h then
      redis.call('RPUSH', KEYS[1], dead[i])
    elseif h == '' then
      if redis.call('ZREM', base .. 'i:' .. tag, id) == 1 then leave(KEYS[2], KEYS[3], tag, 1, 0) end
    elseif status == 'q' or status == 'r' then
      redis.call('LPUSH', base .. 'q:' .. tag, id)
      returned = returned + 1
    end
  end
end
return { returned, #dead, text(now) }
