-- accept.lua: for each run, buffer it, or say what stands in its way.
-- KEYS: for each partition   its environments, its counts
--       for each environment of a partition   queue, index
--       for each run   entry, record of its key (the entry again if it has no key)
--       no run and no key twice
-- ARGV[1]  the fence in us
-- ARGV[2]  the most entries of a partition     ARGV[3]  the most bytes of a partition
-- ARGV[4]  life of a record in ms              ARGV[5]  channel for announcements
-- ARGV[6]  how many partitions                 ARGV[7]  how many environments   ARGV[8]  how many kinds
--   for each environment   number of its partition, tag, what the tag stands for
--   for each kind of run, 5: time to live of the key in us, the status that the entry begins with (q or r),
--     since or '', epoch of since, '1' if Postgres was not asked
--   for each run, 4: 256 times the number of its environment, and the number of its kind less 1;
--     snapshot; payload digest '|' request digest; and, or '' if none of it is there, behind one another with '|':
--     token of the claim, floor, and of the holder that Postgres named: id, acceptance, end, '1' if ended, its digests
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
local partitions, slotCount, kindCount = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local server = match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local floorOf = math.floor
local firstSlotKey, firstSlotArg = 2 * partitions, 8
local firstKey, firstKindArg = firstSlotKey + 2 * slotCount, firstSlotArg + 3 * slotCount
local firstArg, width = firstKindArg + 5 * kindCount, 4
local runs = (#ARGV - firstArg) / width
local longest = 30000000 -- the longest TTL that a claim may have, in us
local waited = { ['-'] = 'w', w = 'w', c = 'cw', cw = 'cw', wc = 'cw' }

-- Counts, by partition and by environment.
local groups, slots, kinds = {}, {}, {}
for g = 1, partitions do
  groups[g] = { envs = KEYS[2 * g - 1], usage = KEYS[2 * g], n = 0, bytes = 0, fields = { '*' }, slots = {} }
end
for s = 1, slotCount do
  local a = firstSlotArg + 3 * (s - 1)
  local group = groups[tonumber(ARGV[a + 1])]
  local queue = KEYS[firstSlotKey + 2 * s - 1]
  local slot = { group = group, tag = ARGV[a + 2], env = ARGV[a + 3], n = 0, bytes = 0, ids = {}, members = {},
    queue = queue, index = KEYS[firstSlotKey + 2 * s],
    id = #queue + 2 } -- the place of the id in an entry's name, which is the queue's with e for q, and it
  slots[s] = slot
  group.fields[#group.fields + 1] = slot.tag
  group.slots[#group.slots + 1] = slot
end
for _, group in ipairs(groups) do
  local counts = redis.call('HMGET', group.usage, unpack(group.fields))
  local function take(into, value)
    if value then
      local n, bytes = match(value, '^(%d+)|(%d+)$')
      into.n, into.bytes, into.known = tonumber(n) or 0, tonumber(bytes) or 0, true
    end
  end
  take(group, counts[1])
  for i, slot in ipairs(group.slots) do take(slot, counts[i + 1]) end
  group.had, group.hadBytes = group.n, group.bytes
  for _, slot in ipairs(group.slots) do slot.had, slot.hadBytes = slot.n, slot.bytes end
end

-- What a run of a kind gets if its acceptance is an instant, as text: its end, its answer, and the head of its entry.
local function dated(kind, keyed, acc)
  local ends = keyed and acc + kind.ttl or 0
  local at, till = text(acc), text(ends)
  return { at = at, till = till, answer = 'n' .. at .. '|' .. till,
    head = '2' .. kind.begins .. noToken .. '000000000000' .. format('%016.0f%016.0f', acc, ends) .. '000000000000000' }
end
for k = 1, kindCount do
  local a = firstKindArg + 5 * (k - 1)
  local kind = { ttl = tonumber(ARGV[a + 1]), begins = ARGV[a + 2], skipped = ARGV[a + 5] == '1' }
  local since = ARGV[a + 3]
  local passed = since ~= '' and now - since
  kind.stale = not passed or passed < 0 or passed > fence or not find(ARGV[a + 4], server, 1, true)
  -- mutant no-accept-fence: kind.stale = false
  kind[true], kind[false] = dated(kind, true, now), dated(kind, false, now)
  kinds[k] = kind
end

-- What the records of their keys say.
local names, at, held, found = {}, {}, {}, 0
for i = 1, runs do
  local entry, name = KEYS[firstKey + 2 * i - 1], KEYS[firstKey + 2 * i]
  if name ~= entry then
    names[#names + 1] = name
    at[#at + 1] = i
  end
end
if #names > 0 then
  for j, record in ipairs(redis.call('MGET', unpack(names))) do
    held[at[j]] = record
    if record then found = found + 1 end
  end
end

-- How many there are of the entries and the records, of whatever type.
local function present()
  for i = 1, runs do names[#names + 1] = KEYS[firstKey + 2 * i - 1] end
  return redis.call('EXISTS', unpack(names))
end

local function resolved(id, acc, ends, marks)
  return '1|r|' .. id .. '|' .. acc .. '|' .. ends .. '|' .. marks
end

local replies, writes = {}, {}

-- Answers each run. plain: no entry is there, and no name is of another type.
local function judge(plain)
  for i = 1, runs do
    local a = firstArg + width * (i - 1)
    local place, body, more = tonumber(ARGV[a + 1]), ARGV[a + 2], ARGV[a + 4]
    local slot, kind = slots[floorOf(place / 256)], kinds[place % 256 + 1]
    local entry, name = KEYS[firstKey + 2 * i - 1], KEYS[firstKey + 2 * i]
    local keyed, id, record = name ~= entry, sub(entry, slot.id), held[i]
    local token, floor, holder, holderAcc, holderEnds, ended, holderMarks = '', 0, '', 0, 0, false, nil
    if more ~= '' then
      local t, f, h, acc, ends, over, marks = match(more, '^([^|]*)|(%d+)|([^|]*)|(%d+)|(%d+)|([01])|(.*)$')
      token, floor, holder, holderAcc, holderEnds, ended, holderMarks = t, tonumber(f), h, acc, ends, over == '1', marks
    end
    local answer, least, mine, flags, same = nil, 0, false, '-', false

    local there = not plain and redis.call('EXISTS', entry) == 1 -- mutant accepts-twice: local there = false
    if there then
      local h = ownHead(entry)
      if h then
        if kind.begins == 'r' and sub(h, 2, 2) == 'q' then redis.call('SETRANGE', entry, 1, 'r') end
        answer = 'a' .. text(tonumber(sub(h, 37, 52))) .. '|' .. text(tonumber(sub(h, 53, 68)))
      else
        answer = '?'
      end
    elseif record then
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
            local h = head(sub(name, 1, -46) .. 'e:' .. tag .. ':' .. who)
            if not h then
              answer = '?'
            elseif h ~= '' then
              answer = (sub(h, 2, 2) == 'q' and 'bq' or 'bl') .. record
            end
          end
          least = acc + 1
        end
      else
        local free = match(record, '^1|f|(%d+)$')
        if free then least = tonumber(free) else answer = '?' end
      end
    elseif keyed and not plain and redis.call('EXISTS', name) == 1 then
      answer = '?' -- MGET shows a key of another type as absent
    end

    if not answer and keyed and not mine and not kind.skipped and kind.stale then answer = 's' end
    if not answer and holder ~= '' and not ended and tonumber(holderEnds) > now then
      if mine and find(flags, 'c', 1, true) then
        -- A reset cut below this claim after Postgres may have been asked.
        answer = 's'
        redis.call('SET', name, '1|f|' .. text(least + 1), 'PX', keep(least, life))
      elseif not mine and not same and least > tonumber(holderAcc) then
        answer = 's' -- a reset, or a later run, came after Postgres was asked
      else
        answer = 'h'
        if mine then
          redis.call('SET', name, resolved(holder, holderAcc, holderEnds, holderMarks), 'PX', keep(tonumber(holderAcc), life))
        end
      end
      if mine and find(flags, 'w', 1, true) then redis.call('PUBLISH', ARGV[5], sub(name, -43)) end
    end
    if not answer then
      local group, bytes = slot.group, #body
      local acc = math.max(now, least, floor) -- mutant accepted-at-claim: local acc = mine and least or math.max(now, least, floor)
      if acc > ceiling then
        answer = '?'
      elseif group.n >= most or group.bytes + bytes > mostBytes then
        answer = 'f'
      else
        local dates = acc == now and kind[keyed] or dated(kind, keyed, acc)
        local n, hash = #writes, keyed and sub(name, -43) or noHash
        writes[n + 1], writes[n + 2] = entry, dates.head .. hash .. body
        if keyed then
          writes[n + 3] = name
          writes[n + 4] = '1|b|' .. id .. '|' .. dates.at .. '|' .. dates.till .. '|' .. ARGV[a + 3] .. '|' .. slot.tag
          if mine and find(flags, 'w', 1, true) then redis.call('PUBLISH', ARGV[5], hash) end
        end
        answer = dates.answer
        slot.ids[#slot.ids + 1] = id
        slot.members[#slot.members + 1] = 0
        slot.members[#slot.members + 1] = id
        slot.n, slot.bytes = slot.n + 1, slot.bytes + bytes
        group.n, group.bytes = group.n + 1, group.bytes + bytes
      end
    end
    replies[i] = answer
  end
end

-- Where no record was found, most likely nothing else is there: that is taken for granted, and MSETNX finds out as it
-- writes, if it writes all that was asked for. Nothing of what was judged so has had an effect: it is judged anew.
local both = 2 * (runs + #names)
judge(found == 0 or present() == found)
local written = false
if found == 0 then
  if #writes == both then written = redis.call('MSETNX', unpack(writes)) == 1 end
  if not written and present() > 0 then
    for _, group in ipairs(groups) do group.n, group.bytes = group.had, group.hadBytes end
    for _, slot in ipairs(slots) do slot.n, slot.bytes, slot.ids, slot.members = slot.had, slot.hadBytes, {}, {} end
    replies, writes = {}, {}
    judge(false)
  end
end
if #writes > 0 and not written then redis.call('MSET', unpack(writes)) end
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
