-- lease.lua: take the next entries of an environment's queue, or those that the same token took before.
-- KEYS[1] queue  KEYS[2] leases  KEYS[3] counts  KEYS[4] environments  KEYS[5] dead  KEYS[6] index
-- KEYS[7] ids that this token took; all of one partition
-- ARGV[1] how many at most   ARGV[2] TTL of the lease in us   ARGV[3] token   ARGV[4] tag of the environment
-- ARGV[5] bytes at most, but for the first   ARGV[6] how many references to look at
-- Returns for each entry { id, its fields before it was taken }, then TIME. References whose entry is gone, or not
-- waiting, are taken away. An entry of another version is moved aside, untouched: { id }.
-- Asked again, it takes nothing: it returns those of KEYS[7] that the token still holds, with their fields as they are
-- but for the status, from now for the TTL. If now fewer are asked for, the rest goes to the front of the queue.
-- O(n) of ARGV[6] and KEYS[7].
local want, token, tag, mostBytes = tonumber(ARGV[1]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local base = sub(KEYS[1], 1, -(#tag + 3)) .. 'e:' .. tag .. ':'
local deadline = text(now + ARGV[2])
local replies, leases, dead = {}, {}, {}
local looked, bytes, got = 0, 0, 0

local function read(entry)
  local fields, f = redis.call('HGETALL', entry), {}
  for i = 1, #fields, 2 do
    local name = fields[i]
    if name == 'v' or name == 'st' or name == 'b' or name == 't' or name == 'q' then f[name] = fields[i + 1] end
    if name == 'st' then f.at = i + 1 end
  end
  f.size = tonumber(f.b) or 0
  return fields, f
end

local function take(id, fields, f)
  leases[#leases + 1] = deadline
  leases[#leases + 1] = tag .. ':' .. id
  replies[#replies + 1] = { id, fields }
  got, bytes = got + 1, bytes + f.size
end

local function full(f) return got == want or got > 0 and bytes + f.size > mostBytes end

local took = redis.call('LRANGE', KEYS[7], 0, -1)
if #took > 0 then
  local back = {}
  for _, id in ipairs(took) do
    local entry = base .. id
    local fields, f = read(entry)
    if f.v == '1' and f.st == 'l' and f.t == token then
      local was = f.q and 'q' or 'r'
      if #back == 0 and not full(f) then
        fields[f.at] = was
        take(id, fields, f)
      else
        redis.call('HSET', entry, 'st', was)
        redis.call('HDEL', entry, 't', 'q')
        redis.call('ZREM', KEYS[2], tag .. ':' .. id)
        redis.call('LREM', KEYS[7], 1, id)
        back[#back + 1] = id
      end
    end
  end
  for i = #back, 1, -1 do redis.call('LPUSH', KEYS[1], back[i]) end
else
  for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, ARGV[6] - 1)) do
    if got == want then break end
    local entry = base .. id
    local fields, f = read(entry)
    if #fields == 0 then
      if redis.call('ZREM', KEYS[6], id) == 1 then leave(KEYS[3], KEYS[4], tag, 0) end
    elseif f.v ~= '1' then
      dead[#dead + 1] = tag .. ':' .. id
      replies[#replies + 1] = { id }
    elseif f.st == 'q' or f.st == 'r' then
      if full(f) then break end
      redis.call('HSET', entry, 'st', 'l', 't', token)
      redis.call('RPUSH', KEYS[7], id)
      take(id, fields, f)
    end
    looked = looked + 1
  end
end
if looked > 0 then redis.call('LTRIM', KEYS[1], looked, -1) end
if #leases > 0 then
  redis.call('ZADD', KEYS[2], unpack(leases))
  redis.call('PEXPIRE', KEYS[7], math.ceil(ARGV[2] / 1000))
end
if #dead > 0 then redis.call('RPUSH', KEYS[5], unpack(dead)) end
replies[#replies + 1] = text(now)
return replies
