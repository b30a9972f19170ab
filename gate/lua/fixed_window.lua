#!lua flags=allow-oom
-- fixed_window.lua: count n triggers of an environment in windows that begin with their first count.
-- KEYS[1]   the environment's rate record
-- ARGV[1]   n, at least 1
-- ARGV[2]   window in us
-- ARGV[3]   threshold: more than so many in one window trip the environment
-- ARGV[4]   hold in us
-- Returns { TIME in us, us of hold left, us of window left, count in the window }, or { '?' }
-- for a record that this script does not know; untouched.
-- O(1). Not idempotent: what is counted twice is counted twice. Allowed when Redis is out of
-- memory: a full Redis must not switch the gate off.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local n, window, threshold, hold = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local record = redis.call('GET', KEYS[1])
local held, ends, count = 0, 0, 0

if record then
  local h, e, c = string.match(record, '^1|f|(%d+)|(%d+)|(%d+)$')
  if h then
    held, ends, count = tonumber(h), tonumber(e), tonumber(c)
  else
    h = string.match(record, '^1|g|(%d+)|%d+|%d+$') -- another node counts in the other way
    if not h then return { '?' } end
    held = tonumber(h)
  end
end

-- No later than if it had begun now: the clock stepped back, or the setting was changed.
if held > now + hold then held = now + hold end
if ends > now + window then ends = now + window end
if ends <= now then
  ends, count = now + window, 0
end
count = math.min(count + n, 1000000000000)
if count > threshold then held = now + hold end

local life = math.ceil((math.max(held, ends) - now) / 1000) + 1
redis.call('SET', KEYS[1], string.format('1|f|%.0f|%.0f|%.0f', held, ends, count), 'PX', life)
return { now, math.max(held - now, 0), ends - now, count }
