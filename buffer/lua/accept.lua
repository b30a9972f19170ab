-- accept.lua: for each run, buffer it, or say what stands in its way.
-- KEYS: for each partition   its environments, its counts
--       for each environment of a partition   queue, index
--       for each run   entry, record of its key (the entry again if it has no key)
--       no run and no key twice
-- ARGV[1]  the fence in us
-- ARGV[2]  the most entries of a partition     ARGV[3]  the most bytes of a partition
-- ARGV[4]  life of a record in ms              ARGV[5]  channel for announcements
-- ARGV[6]  how many partitions                 ARGV[7]  how many environments
--   for each environment   number of its partition, tag, what the tag stands for
--   for each run, 19: number of its environment, id, snapshot, hash of its key or '', time to live of the key in us,
--     payload digest, request digest, token of the claim or '', since or '', epoch of since, floor,
--     '1' if Postgres was not asked, and of the holder that Postgres named: id or '', acceptance, end, '1' if ended,
--     digests; the status that its entry begins with, q or r
-- Returns for each run one of
--   'n' acceptance '|' end   buffered now
--   'a' acceptance '|' end   it is there already
--   'b' 'q' or 'l' record    bound to another buffered run; q: whose entry is queued
--   'r' record               resolved to a run
--   'h'                      held by the holder that was named
--   'w' us                   another's claim, over in so many us; flag w is set
--   's'                      the claim is lost and the fence has passed
--   'f'                      the partition is full
--   '?'                      a record or entry that this script does not know; untouched
-- and at the end TIME '|' run id of the server. O(n). Refused when Redis is out of memory.
local fence, most, mostBytes, life = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local partitions, slotCount = tonumber(ARGV[6]), tonumber(ARGV[7])
local server = match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local width = 19
local firstSlotKey, firstSlotArg = 2 * partitions, 7
local firstKey, firstArg = firstSlotKey + 2 * slotCount, firstSlotArg + 3 * slotCount
local runs = (#ARGV - firstArg) / width
local longest = 30000000 -- the longest TTL that a claim may have, in us
local waited = { ['-'] = 'w', w = 'w', c = 'cw', cw = 'cw', wc = 'cw' }

-- Counts, by partition and by environment.
local groups, slots = {}, {}
for g = 1, partitions do
  groups[g] = { envs = KEYS[2 * g - 1], usage = KEYS[2 * g], n = 0, bytes = 0, fields = { '*' }, slots = {} }
end
for s = 1, slotCount do
  local a = firstSlotArg + 3 * (s - 1)
  local group = groups[tonumber(ARGV[a + 1])]
  local slot = { group = group, tag = ARGV[a + 2], env = ARGV[a + 3], n = 0, bytes = 0, ids = {}, members = {},
    queue = KEYS[firstSlotKey + 2 * s - 1], index = KEYS[firstSlotKey + 2 * s] }
  slots[s] = slot
  group.fields[#group.fields + 1] = slot.tag
  group.slots[#group.slots + 1] = slot
end
for _, group in ipairs(groups) do
  local counted = redis.call('HMGET', group.usage, unpack(group.fields))
  local function read(into, value)
    if value then
      local n, bytes = match(value, '^(%d+)|(%d+)$')
      into.n, into.bytes, into.known = tonumber(n) or 0, tonumber(bytes) or 0, true
    end
  end
  read(group, counted[1])
  for i, slot in ipairs(group.slots) do read(slot, counted[i + 1]) end
end

-- What is there of the runs and their keys.
local entries, names, at, held = {}, {}, {}, {}
for i = 1, runs do
  entries[i] = KEYS[firstKey + 2 * i - 1]
  if ARGV[firstArg + width * (i - 1) + 4] ~= '' then
    names[#names + 1] = KEYS[firstKey + 2 * i]
    at[#at + 1] = i
  end
end
if #names > 0 then
  for j, record in ipairs(redis.call('MGET', unpack(names))) do held[at[j]] = record end
end
local there = redis.call('EXISTS', unpack(entries))

local function resolved(id, acc, ends, payload, request)
  return '1|r|' .. id .. '|' .. acc .. '|' .. ends .. '|' .. payload .. '|' .. request
end

local replies = {}
for i = 1, runs do
  local a = firstArg + width * (i - 1)
  local slot, id, body, hash = slots[tonumber(ARGV[a + 1])], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local token, since, floor = ARGV[a + 8], ARGV[a + 9], tonumber(ARGV[a + 11])
  local holder, holderAcc, ended = ARGV[a + 13], tonumber(ARGV[a + 14]), ARGV[a + 16] == '1'
  local begins = ARGV[a + 19]
  local entry, name = entries[i], KEYS[firstKey + 2 * i]
  local record = held[i]
  local answer, least, mine, flags, same = nil, 0, false, '-', false

  if there > 0 and redis.call('EXISTS', entry) == 1 then
    local f = redis.call('HMGET', entry, 'v', 'acc', 'until', 'st')
    if f[1] == '1' and f[4] == 'q' and begins == 'r' then redis.call('HSET', entry, 'st', 'r') end
    answer = f[1] == '1' and f[2] and 'a' .. f[2] .. '|' .. (f[3] or '0') or '?'
  elseif hash ~= '' and record then
    local state = sub(record, 1, 4)
    if state == '1|p|' then
      local owner, acc, ends, marks = match(record, '^1|p|([^|]+)|(%d+)|(%d+)|([wc-]+)$')
      if not owner or not waited[marks] then
        answer = '?'
      elseif owner == token then
        mine, least, flags = true, tonumber(acc), marks
      elseif tonumber(ends) > now then
        local left = math.min(ends - now, longest)
        answer = 'w' .. text(left)
        redis.call('SET', name, '1|p|' .. owner .. '|' .. acc .. '|' .. text(now + left) .. '|' .. waited[marks], 'KEEPTTL')
      else
        answer = 's' -- a late owner: who claims next looks into Postgres once more
      end
    elseif state == '1|r|' then
      local who, acc, ends = match(record, '^1|r|([^|]+)|(%d+)|(%d+)|')
      if not who then
        answer = '?'
      else
        same = who == holder
        if tonumber(ends) > now and not same then answer = 'r' .. record end
        least = acc + 1
      end
    elseif state == '1|b|' then
      local who, acc, ends, tag = match(record, '^1|b|([^|]+)|(%d+)|(%d+)|[^|]+|[^|]+|([%w_-]+)$')
      if not who then
        answer = '?'
      else
        if tonumber(ends) > now and not (who == holder and ended) then
          local status = redis.pcall('HGET', sub(name, 1, -46) .. 'e:' .. tag .. ':' .. who, 'st')
          if type(status) == 'table' then
            answer = '?'
          elseif status then
            answer = (status == 'q' and 'bq' or 'bl') .. record
          end
        end
        least = acc + 1
      end
    else
      local free = match(record, '^1|f|(%d+)$')
      if free then least = tonumber(free) else answer = '?' end
    end
  end

  if not answer and hash ~= '' and not mine and ARGV[a + 12] ~= '1' then
    local passed = since ~= '' and now - since
    if not passed or passed < 0 or passed > fence or not find(ARGV[a + 10], server, 1, true) then answer = 's' end
  end
  if not answer and holder ~= '' and not ended and tonumber(ARGV[a + 15]) > now then
    if mine and find(flags, 'c', 1, true) then
      -- A reset cut below this claim after Postgres may have been asked.
      answer = 's'
      redis.call('SET', name, '1|f|' .. text(least + 1), 'PX', keep(least, life))
    elseif not mine and not same and least > holderAcc then
      answer = 's' -- a reset, or a later run, came after Postgres was asked
    else
      answer = 'h'
      if mine then
        redis.call('SET', name, resolved(holder, ARGV[a + 14], ARGV[a + 15], ARGV[a + 17], ARGV[a + 18]), 'PX', keep(holderAcc, life))
      end
    end
    if mine and find(flags, 'w', 1, true) then redis.call('PUBLISH', ARGV[5], hash) end
  end
  if not answer then
    local group, bytes = slot.group, #body
    local acc = math.max(now, least, floor)
    local ends = hash ~= '' and text(acc + ARGV[a + 5]) or '0'
    if acc > ceiling then
      answer = '?'
    elseif group.n >= most or group.bytes + bytes > mostBytes then
      answer = 'f'
    elseif hash ~= '' then
      local bound = '1|b|' .. id .. '|' .. text(acc) .. '|' .. ends .. '|' .. ARGV[a + 6] .. '|' .. ARGV[a + 7] .. '|' .. slot.tag
      if record then
        redis.call('SET', name, bound)
      elseif not redis.call('SET', name, bound, 'NX') then
        answer = '?' -- MGET shows a key of another type as absent
      end
      if mine and find(flags, 'w', 1, true) then redis.call('PUBLISH', ARGV[5], hash) end
    end
    if not answer then
      answer = 'n' .. text(acc) .. '|' .. ends
      if hash ~= '' then
        redis.call('HSET', entry, 'v', '1', 's', body, 'st', begins, 'acc', text(acc), 'b', bytes, 'until', ends, 'h', hash)
      else
        redis.call('HSET', entry, 'v', '1', 's', body, 'st', begins, 'acc', text(acc), 'b', bytes)
      end
      slot.ids[#slot.ids + 1] = id
      slot.members[#slot.members + 1] = 0
      slot.members[#slot.members + 1] = id
      slot.n, slot.bytes = slot.n + 1, slot.bytes + bytes
      group.n, group.bytes = group.n + 1, group.bytes + bytes
    end
  end
  replies[i] = answer
end

for _, group in ipairs(groups) do
  local counts = {}
  for _, slot in ipairs(group.slots) do
    if #slot.ids > 0 then
      redis.call('RPUSH', slot.queue, unpack(slot.ids))
      redis.call('ZADD', slot.index, unpack(slot.members))
      if not slot.known then redis.call('HSET', group.envs, slot.tag, slot.env) end
      counts[#counts + 1] = slot.tag
      counts[#counts + 1] = text(slot.n) .. '|' .. text(slot.bytes)
    end
  end
  if #counts > 0 then
    redis.call('HSET', group.usage, '*', text(group.n) .. '|' .. text(group.bytes), unpack(counts))
  end
end
replies[runs + 1] = text(now) .. '|' .. server
return replies
