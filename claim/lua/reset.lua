#!lua flags=allow-oom
-- reset.lua: end what was accepted for the key before cut.
-- KEYS[1]   record of the key
-- ARGV[1]   cut: the least acceptance time that stays, in us
-- ARGV[2]   life of the floor in ms
-- ARGV[3]   channel for announcements: the last 43 characters of the key
-- Returns one element:
--   'd'   done; the id of a run follows if it is buffered and held the key until now
--   'm'   done; the id follows of a run that was published, and may have held the key until now
--   '?'   a record that this script does not know; untouched
-- A buffered run keeps its key, but its interval ends at cut, in its entry too.
-- A pending claim accepted at or after cut is flagged c: its owner may have
-- looked into Postgres before the reset was there.
-- O(1), and one PUBLISH if a claim that was waited for ended.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local match = string.match
local cut = tonumber(ARGV[1])
local record = redis.call('GET', KEYS[1])
local wake
local done = 'd'

if record then
  local acc, flags = match(record, '^1|p|[^|]+|(%d+)|%d+|([wc-]+)$')
  if acc and tonumber(acc) >= cut then -- mutant keep-pending-claim: if acc then
    if not string.find(flags, 'c', 1, true) then -- mutant reset-flags-no-claim: if false then
      local marked = flags == '-' and string.sub(record, 1, -2) .. 'c' or record .. 'c'
      redis.call('SET', KEYS[1], marked, 'KEEPTTL')
    end
    return { 'd' }
  end
  if acc then
    wake = string.find(flags, 'w', 1, true)
  else
    local stays = match(record, '^1|f|(%d+)$')
    local published, id, ends, tag
    if not stays then
      published, stays, ends = match(record, '^1|r|([^|]+)|(%d+)|(%d+)|')
    end
    if not stays then
      id, stays, ends, tag = match(record, '^1|b|([^|]+)|(%d+)|(%d+)|[^|]+|[^|]+|([%w_-]+)$')
    end
    if not stays then return { '?' } end
    if tonumber(stays) >= cut then return { 'd' } end
    if published and tonumber(ends) > now then done = 'm' .. published end
    if id then
      local entry = string.sub(KEYS[1], 1, -46) .. 'e:' .. tag .. ':' .. id
      -- Its bytes 53 to 68 are the end of the interval; an entry of form 1 is a hash.
      local head, till = redis.pcall('GETRANGE', entry, 0, 67), nil
      if type(head) == 'table' then
        till = redis.call('HGET', entry, 'until')
        if till and tonumber(till) > cut then redis.call('HSET', entry, 'until', ARGV[1]) end
      elseif string.sub(head, 1, 1) == '2' then
        till = string.sub(head, 53)
        if tonumber(till) > cut then redis.call('SETRANGE', entry, 52, string.format('%016.0f', cut)) end
      elseif head ~= '' then
        return { '?' }
      end
      if till and tonumber(ends) > now then done = 'd' .. id end
    end
  end
end

local life = tonumber(ARGV[2])
if cut > now then -- kept as much longer as it lies ahead of TIME, an hour at most
  life = life + math.ceil(math.min(cut - now, 3600000000) / 1000)
end
redis.call('SET', KEYS[1], '1|f|' .. ARGV[1], 'PX', life)
if wake then redis.call('PUBLISH', ARGV[3], string.sub(KEYS[1], -43)) end
return { done }
