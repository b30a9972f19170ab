-- lease.lua: take the next entries of an environment's queue.
-- KEYS[1] queue  KEYS[2] leases  KEYS[3] counts  KEYS[4] environments  KEYS[5] dead  KEYS[6] index; all of one partition
-- ARGV[1] how many at most   ARGV[2] TTL of the lease in us   ARGV[3] token   ARGV[4] tag of the environment
-- ARGV[5] bytes at most, but for the first   ARGV[6] how many references to look at
-- Returns for each entry { id, its fields }, then TIME. References whose entry is gone, or not waiting, are taken
-- away. An entry of another version is moved aside, untouched: { id }.
-- O(n) of ARGV[6].
local want, token, tag, mostBytes = tonumber(ARGV[1]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local base = sub(KEYS[1], 1, -(#tag + 3)) .. 'e:' .. tag .. ':'
local deadline = text(now + ARGV[2])
local replies, leases, dead = {}, {}, {}
local looked, bytes, got = 0, 0, 0
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, ARGV[6] - 1)) do
  if got == want then break end
  local entry = base .. id
  local fields = redis.call('HGETALL', entry)
  if #fields == 0 then
    if redis.call('ZREM', KEYS[6], id) == 1 then leave(KEYS[3], KEYS[4], tag, 0) end
  else
    local version, status, size
    for f = 1, #fields, 2 do
      if fields[f] == 'v' then version = fields[f + 1] end
      if fields[f] == 'st' then status = fields[f + 1] end
      if fields[f] == 'b' then size = tonumber(fields[f + 1]) end
    end
    if version ~= '1' then
      dead[#dead + 1] = tag .. ':' .. id
      replies[#replies + 1] = { id }
    elseif status == 'q' or status == 'r' then
      if got > 0 and bytes + (size or 0) > mostBytes then break end
      redis.call('HSET', entry, 'st', 'l', 't', token)
      leases[#leases + 1] = deadline
      leases[#leases + 1] = tag .. ':' .. id
      replies[#replies + 1] = { id, fields }
      got, bytes = got + 1, bytes + (size or 0)
    end
  end
  looked = looked + 1
end
if looked > 0 then redis.call('LTRIM', KEYS[1], looked, -1) end
if #leases > 0 then redis.call('ZADD', KEYS[2], unpack(leases)) end
if #dead > 0 then redis.call('RPUSH', KEYS[5], unpack(dead)) end
replies[#replies + 1] = text(now)
return replies
