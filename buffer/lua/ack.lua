-- ack.lua: for each entry, it is in Postgres up to a version: materialised, unless there are later patches.
-- KEYS[5i-4] entry  KEYS[5i-3] index  KEYS[5i-2] leases  KEYS[5i-1] counts  KEYS[5i] environments
-- ARGV[1] life of a record in ms  ARGV[2] grace of the entry in ms
-- for each entry: tag, id, version, id of the run that it resolves to
-- Returns for each entry 'd' done, or it was gone or done before; { version, patches } later patches, nothing is
-- changed; '?' of another version. Then TIME.
-- The names of the key's record and of the queue are formed from the entry's name and what is in it. O(n), and for an
-- entry that waits as long as the way to it from the head of its queue.
local replies = {}
for i = 1, #KEYS / 5 do
  local entry, a = KEYS[5 * i - 4], 2 + 4 * (i - 1)
  local tag, id, known = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  local f = redis.call('HMGET', entry, 'v', 'st', 'ver', 'h', 'b')
  local version = tonumber(f[3] or 0)
  if not f[1] or f[1] == '1' and f[2] == 'm' then
    replies[i] = 'd'
  elseif f[1] ~= '1' then
    replies[i] = '?'
  elseif version > known then
    local later = {}
    for n = known + 1, version do later[#later + 1] = 'p' .. text(n) end
    replies[i] = { text(version), unpack(redis.call('HMGET', entry, unpack(later))) }
  else
    redis.call('HSET', entry, 'st', 'm')
    redis.call('HDEL', entry, 't')
    redis.call('PEXPIRE', entry, ARGV[2])
    redis.call('ZREM', KEYS[5 * i - 3], id)
    redis.call('ZREM', KEYS[5 * i - 2], tag .. ':' .. id)
    local base = sub(entry, 1, -(#tag + #id + 4))
    if f[2] ~= 'l' then redis.call('LREM', base .. 'q:' .. tag, 1, id) end -- returned, so near the head
    leave(KEYS[5 * i - 1], KEYS[5 * i], tag, tonumber(f[5] or 0))
    if f[4] then
      local name = base .. 'k:' .. f[4]
      local record = redis.call('GET', name)
      local who, acc, ends, payload, request = match(record or '', '^1|b|([^|]+)|(%d+)|(%d+)|([^|]+)|([^|]+)|[%w_-]+$')
      if who == id then
        redis.call('SET', name, '1|r|' .. ARGV[a + 4] .. '|' .. acc .. '|' .. ends .. '|' .. payload .. '|' .. request,
          'PX', keep(tonumber(acc), tonumber(ARGV[1])))
      end
    end
    replies[i] = 'd'
  end
end
replies[#replies + 1] = text(now)
return replies
