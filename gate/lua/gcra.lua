#!lua flags=allow-oom
-- gcra.lua: count n triggers of an environment against a bucket that drains evenly.
-- KEYS[1]   the environment's rate record
-- ARGV[1]   n, at least 1
-- ARGV[2]   window in us
-- ARGV[3]   threshold: the bucket holds so many, and drains so many in a window
-- ARGV[4]   hold in us
-- Returns { TIME in us, us of hold left, us until the bucket is empty, the bucket's level in ns
-- of draining }, or { '?' } for a record that this script does not know; untouched.
-- A trigger that does not fit trips the environment and leaves the bucket full.
-- O(1). Not idempotent: what is counted twice is counted twice. Allowed when Redis is out of
-- memory: a full Redis must not switch the gate off.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local n, window, threshold, hold = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local each = math.floor(window * 1000 / threshold) -- ns of draining that a trigger takes
local full = each * threshold
local record = redis.call('GET', KEYS[1])
local held, at, level = 0, now, 0

if record then
  local h, a, l = string.match(record, '^1|g|(%d+)|(%d+)|(%d+)$')
  if h then
    held, at, level = tonumber(h), tonumber(a), tonumber(l)
  else
    h = string.match(record, '^1|f|(%d+)|%d+|%d+$') -- another node counts in the other way
    if not h then return { '?' } end
    held = tonumber(h)
  end
end

-- No later than if it had begun now: the clock stepped back, or the setting was changed.
if held > now + hold then held = now + hold end
level = math.max(level - math.max(now - at, 0) * 1000, 0)
level = math.min(level, full) + math.min(n, threshold + 1) * each
if level > full then
  level, held = full, now + hold
end

local empty = math.ceil(level / 1000)
local life = math.ceil(math.max(held - now, empty) / 1000) + 1
redis.call('SET', KEYS[1], string.format('1|g|%.0f|%.0f|%.0f', held, now, level), 'PX', life)
return { now, math.max(held - now, 0), empty, level }
