-- look.lua: the record of a key, and the status of the entry that it is bound to.
-- KEYS[1] record
-- Returns the record or '', the status of the bound entry or '', and TIME in us. O(1), reads only.
local time = redis.call('TIME')
local record, status = redis.call('GET', KEYS[1]) or '', ''
local id, tag = string.match(record, '^1|b|([^|]+)|.*|([%w_-]+)$')
if id then
  -- The entry's name: this key's, whose last 45 characters are 'k:' and the hash, with what the record says.
  -- Its second byte is the status; an entry of form 1 is a hash.
  local entry = string.sub(KEYS[1], 1, -46) .. 'e:' .. tag .. ':' .. id
  local head = redis.pcall('GETRANGE', entry, 0, 1)
  status = type(head) == 'table' and (redis.call('HGET', entry, 'st') or '') or string.sub(head, 2)
end
return { record, status, string.format('%.0f', time[1] * 1000000 + time[2]) }
