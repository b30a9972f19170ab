-- restore.lua: write again what is missing of entries that Redis has lost.
-- KEYS: for each run, of one partition: entry, queue, index, counts, environments
-- ARGV: for each run, 9: id, tag, what the tag stands for, snapshot, acceptance, end or 0, hash of its key or '', how many
--   patches, the patches from version 1 on as the entry has them
-- Returns for each run
--   'n'  it was gone: it is there again, returned, at the end of its queue
--   'p' and their number  its last patches were missing, and are there again
--   'a'  nothing was missing
--   'c'  it has other patches than these
--   '?'  of another version; untouched
-- and at the end TIME. What was materialised waits again, if it lacks patches. The end of the queue is nearer to a run's
-- place than its front: what was lost is younger than what was not. The record of the key is not touched. O(n). Refused
-- when Redis is out of memory.
local replies = {}

for i = 1, #KEYS / 5 do
  local entry, queue, index, usage, envs = unpack(KEYS, 5 * i - 4, 5 * i)
  local id, tag, tenant, body, acc, ends, hash, patches, block = unpack(ARGV, 9 * i - 8, 9 * i)
  patches = tonumber(patches)

  local function enter(runs, bytes)
    local counts = redis.call('HMGET', usage, tag, '*')
    for n, field in ipairs({ tag, '*' }) do
      local had, size = match(counts[n] or '', '^(%d+)|(%d+)$')
      redis.call('HSET', usage, field, text((tonumber(had) or 0) + runs) .. '|' .. text((tonumber(size) or 0) + bytes))
    end
    if not counts[1] then redis.call('HSET', envs, tag, tenant) end
    if runs > 0 then
      redis.call('RPUSH', queue, id)
      redis.call('ZADD', index, 0, id)
    end
  end

  local whole = own(entry, -1)
  if not whole then
    replies[i] = '?'
  elseif whole == '' then
    redis.call('SET', entry, format('2r%s000000000000%016.0f%016.0f%05d%010d', noToken, tonumber(acc), tonumber(ends), patches, #block) ..
      (hash == '' and noHash or hash) .. body .. block)
    enter(1, #body + #block - 4 * patches)
    -- mutant replay-restores-pointers: if hash ~= '' then redis.call('SET', sub(usage, 1, -6) .. 'k:' .. hash, '1|b|' .. id .. '|' .. acc .. '|' .. ends .. '|-|-|' .. tag) end
    replies[i] = 'n'
  else
    local version, size = tonumber(sub(whole, 69, 73)), tonumber(sub(whole, 74, 83))
    local has = sub(whole, #whole - size + 1)
    if sub(has, 1, #block) == block then
      replies[i] = 'a'
    else
      local goesOn = sub(block, 1, size) == has
      local before, missing = counted(#whole, whole), 0
      if goesOn then
        missing = #block - size - 4 * (patches - version)
        redis.call('APPEND', entry, sub(block, size + 1))
        redis.call('SETRANGE', entry, 68, format('%05d%010d', patches, #block))
      end
      if sub(whole, 2, 2) == 'm' then
        redis.call('PERSIST', entry)
        redis.call('SETRANGE', entry, 1, 'r')
        enter(1, before + missing)
      else
        enter(0, missing)
      end
      replies[i] = goesOn and 'p' .. text(patches - version) or 'c'
    end
  end
end
replies[#replies + 1] = text(now)
return replies
