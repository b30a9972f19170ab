#!lua flags=allow-oom
-- renew.lua: for each key, move the deadline of my claim.
-- KEYS[i]     record of key i; on Cluster all of one slot; no key twice
-- ARGV[1]     TTL of a claim in us
-- ARGV[2]     life of a pending record in ms
-- ARGV[i+2]   token
-- Returns for each key one of
--   'd'   the deadline is now TIME + TTL
--   'l'   not my claim any more
--   '?'   a record that this script does not know; untouched
-- O(n).
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local match, sub = string.match, string.sub
local deadline = string.format('%.0f', now + ARGV[1])
local life = tonumber(ARGV[2])
local held = redis.call('MGET', unpack(KEYS))
local replies, records, lives = {}, {}, {}

-- What lies ahead of TIME (the clock stepped back) is kept as much longer, an hour at most.
local function keep(at)
  if at <= now then return life end
  return life + math.ceil(math.min(at - now, 3600000000) / 1000)
end

for i = 1, #KEYS do
  local record = held[i]
  local state = record and sub(record, 1, 4)
  local answer = 'l'
  if state == '1|p|' then
    local owner, acc, flags = match(record, '^1|p|([^|]+)|(%d+)|%d+|([wc-]+)$')
    if not owner then
      answer = '?'
    elseif owner == ARGV[i + 2] then
      answer = 'd'
      records[i] = '1|p|' .. owner .. '|' .. acc .. '|' .. deadline .. '|' .. flags
      lives[i] = keep(tonumber(acc))
    end
  elseif record and state ~= '1|r|' and state ~= '1|f|' and state ~= '1|b|' then
    answer = '?'
  end
  replies[i] = answer
end

for i = 1, #KEYS do
  if records[i] then redis.call('SET', KEYS[i], records[i], 'PX', lives[i]) end
end
return replies
