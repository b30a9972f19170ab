-- ack.lua: for each entry, it is in Postgres up to a version: materialised, unless there are later patches.
-- KEYS: for each environment of a partition   index, leases, counts, environments
--       for each run   entry
--       and one that is never there, so that this is not executed while the slot is in two places
-- ARGV[1] life of a record in ms  ARGV[2] grace of the entry in ms  ARGV[3] how many environments
--   for each environment   tag
--   for each run, 3: number of its environment, version, id of the run that it resolves to or '' if that is itself
-- Returns for each entry 'd' done, or it was gone or done before; { version, patches } later patches, nothing is
-- changed; '?' of another version. Then TIME.
-- The names of the key's record and of the queue are formed from the entry's name and what is in it. O(n), and for an
-- entry that waits as long as the way to it from the head of its queue.
local life, slots = tonumber(ARGV[1]), {}
for s = 1, tonumber(ARGV[3]) do
  local k = 4 * (s - 1)
  slots[s] = { tag = ARGV[3 + s], index = KEYS[k + 1], leases = KEYS[k + 2], usage = KEYS[k + 3], envs = KEYS[k + 4],
    base = sub(KEYS[k + 2], 1, -2), ids = {}, members = {}, bytes = 0 }
end
local firstKey, firstArg = 4 * #slots, 3 + #slots

local replies, names, of = {}, {}, {}
for i = 1, #KEYS - firstKey - 1 do
  local entry, a = KEYS[firstKey + i], firstArg + 3 * (i - 1)
  local slot = slots[tonumber(ARGV[a + 1])]
  local h = ownHead(entry)
  local status, known = h and sub(h, 2, 2), tonumber(ARGV[a + 2])
  if not h then
    replies[i] = '?'
  elseif h == '' or status == 'm' then
    replies[i] = 'd'
  elseif tonumber(sub(h, 69, 73)) > known then -- mutant ack-drops-later-patches: elseif false then
    local whole = own(entry, -1)
    local at, later = #whole - tonumber(sub(h, 74, 83)) + 1, { text(tonumber(sub(h, 69, 73))) }
    for n = 1, tonumber(sub(h, 69, 73)) do
      local size = struct.unpack('>I4', whole, at)
      if n > known then later[#later + 1] = sub(whole, at + 4, at + 3 + size) end
      at = at + 4 + size
    end
    replies[i] = later
  else
    local id = sub(entry, #slot.base + #slot.tag + 4)
    redis.call('SETRANGE', entry, 1, 'm' .. noToken)
    redis.call('PEXPIRE', entry, ARGV[2])
    slot.ids[#slot.ids + 1] = id
    slot.members[#slot.members + 1] = slot.tag .. ':' .. id
    slot.bytes = slot.bytes + counted(redis.call('STRLEN', entry), h)
    if status ~= 'l' then redis.call('LREM', slot.base .. 'q:' .. slot.tag, 1, id) end -- returned, so near the head
    local hash = sub(h, 84, 126)
    if hash ~= noHash then
      names[#names + 1] = slot.base .. 'k:' .. hash
      of[#of + 1] = { id, ARGV[a + 3] == '' and id or ARGV[a + 3] }
    end
    replies[i] = 'd'
  end
end

for _, slot in ipairs(slots) do
  if #slot.ids > 0 then
    redis.call('ZREM', slot.index, unpack(slot.ids))
    redis.call('ZREM', slot.leases, unpack(slot.members))
    leave(slot.usage, slot.envs, slot.tag, #slot.ids, slot.bytes)
  end
end
if #names > 0 then
  for j, record in ipairs(redis.call('MGET', unpack(names))) do
    local who, acc, ends, marks = match(record or '', '^1|b|([^|]+)|(%d+)|(%d+)|([^|]+|[^|]+)|[%w_-]+$')
    if who == of[j][1] then -- mutant ack-takes-foreign-record: if who then
      redis.call('SET', names[j], '1|r|' .. of[j][2] .. '|' .. acc .. '|' .. ends .. '|' .. marks, 'PX', keep(tonumber(acc), life))
      -- mutant no-grace: redis.call('DEL', names[j])
    end
  end
end
replies[#replies + 1] = text(now)
return replies
