-- lease.lua: take the next entries of an environment's queue, or those that the same token took before.
-- KEYS[1] queue  KEYS[2] leases  KEYS[3] counts  KEYS[4] environments  KEYS[5] dead  KEYS[6] index
-- KEYS[7] ids that this token took; all of one partition
-- ARGV[1] how many at most   ARGV[2] TTL of the lease in us   ARGV[3] token   ARGV[4] tag of the environment
-- ARGV[5] bytes at most, but for the first   ARGV[6] how many references to look at
-- Returns for each entry { id, the entry before it was taken }, then TIME. References whose entry is gone, or not
-- waiting, are taken away. An entry of another version is moved aside, untouched: { id }.
-- Asked again, it takes nothing: it returns those of KEYS[7] that the token still holds, as they are but for the
-- status, from now for the TTL. If now fewer are asked for, the rest goes to the front of the queue.
-- O(n) of ARGV[6] and KEYS[7].
local want, token, tag, mostBytes = tonumber(ARGV[1]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local base = sub(KEYS[1], 1, -(#tag + 3)) .. 'e:' .. tag .. ':'
local deadline = text(now + ARGV[2])
local replies, leases, dead, taken = {}, {}, {}, {}
local looked, bytes, got = 0, 0, 0

local function take(id, whole)
  leases[#leases + 1] = deadline
  leases[#leases + 1] = tag .. ':' .. id
  replies[#replies + 1] = { id, whole }
  got, bytes = got + 1, bytes + #whole
end

local function full(whole) return got == want or got > 0 and bytes + #whole > mostBytes end

-- Entries are read some at a time: one command for many, but no more bytes than may be returned, if those to come are
-- like those before. A hash, of form 1, is read alone.
local ahead, most = {}, 8
local function wholeOf(ids, at)
  if ahead[at] == nil then
    local names = {}
    for i = at, math.max(at, math.min(#ids, at + most - 1, at + want - got - 1)) do names[#names + 1] = base .. ids[i] end
    local read = 0
    for i, whole in ipairs(redis.call('MGET', unpack(names))) do
      ahead[at + i - 1] = whole
      read = read + (whole and #whole or 0)
    end
    most = math.max(1, math.min(256, math.floor((mostBytes - bytes - read) / (read / #names + 1))))
  end
  local whole = ahead[at]
  ahead[at] = false
  if whole and sub(whole, 1, 1) == '2' and #whole >= headSize then return whole end
  return own(base .. ids[at], -1)
end

local took = redis.call('LRANGE', KEYS[7], 0, -1)
if #took > 0 then -- mutant lease-takes-again: if false then
  local back = {}
  for i, id in ipairs(took) do
    local entry = base .. id
    local whole = wholeOf(took, i)
    if whole and sub(whole, 2, 24) == 'l' .. token then
      if #back == 0 and not full(whole) then
        take(id, sub(whole, 1, 1) .. 'r' .. sub(whole, 3))
      else
        redis.call('SETRANGE', entry, 1, 'r' .. noToken)
        redis.call('ZREM', KEYS[2], tag .. ':' .. id)
        redis.call('LREM', KEYS[7], 1, id)
        back[#back + 1] = id
      end
    end
  end
  for i = #back, 1, -1 do redis.call('LPUSH', KEYS[1], back[i]) end
else
  local waiting = redis.call('LRANGE', KEYS[1], 0, ARGV[6] - 1)
  for i, id in ipairs(waiting) do
    if got == want then break end
    local entry = base .. id
    local whole = wholeOf(waiting, i)
    local status = whole and sub(whole, 2, 2)
    if not whole then
      dead[#dead + 1] = tag .. ':' .. id
      replies[#replies + 1] = { id }
    elseif whole == '' then
      if redis.call('ZREM', KEYS[6], id) == 1 then leave(KEYS[3], KEYS[4], tag, 1, 0) end
    elseif status == 'q' or status == 'r' then
      if full(whole) then break end
      redis.call('SETRANGE', entry, 1, 'l' .. token)
      taken[#taken + 1] = id
      take(id, whole)
    end
    looked = looked + 1
  end
end
if looked > 0 then redis.call('LTRIM', KEYS[1], looked, -1) end
if #taken > 0 then redis.call('RPUSH', KEYS[7], unpack(taken)) end
if #leases > 0 then
  redis.call('ZADD', KEYS[2], unpack(leases))
  redis.call('PEXPIRE', KEYS[7], math.ceil(ARGV[2] / 1000))
end
if #dead > 0 then redis.call('RPUSH', KEYS[5], unpack(dead)) end
replies[#replies + 1] = text(now)
return replies
