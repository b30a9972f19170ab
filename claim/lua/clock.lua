#!lua flags=no-writes
-- clock.lua: an instant that lies after everything accepted for the key.
-- KEYS[1]   record of the key
-- Returns one element: 'i' and max(TIME, what the record holds + 1) in us, or '?' for a
-- record that this script does not know.
-- O(1), reads only.
local time = redis.call('TIME')
local at = time[1] * 1000000 + time[2]
local record = redis.call('GET', KEYS[1])
if record then
  local match = string.match
  local seen = match(record, '^1|p|[^|]+|(%d+)|%d+|[wc-]+$')
    or match(record, '^1|r|[^|]+|(%d+)|%d+|')
    or match(record, '^1|b|[^|]+|(%d+)|%d+|[^|]+|[^|]+|[%w_-]+$')
    or match(record, '^1|f|(%d+)$')
  if not seen then return { '?' } end
  if seen + 1 > at then at = seen + 1 end
end
return { 'i' .. string.format('%.0f', at) }
