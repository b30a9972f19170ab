#!lua flags=allow-oom
-- publish.lua: for each key, turn my claim into the run that holds the key.
-- KEYS[i]      record of key i; on Cluster all of one slot; no key twice
-- ARGV[1]      life of the new records in ms
-- ARGV[2]      channel for announcements: the last 43 characters of the key
-- ARGV[3i]     token
-- ARGV[3i+1]   the whole resolved record to store
-- ARGV[3i+2]   '1' if the run was found, '0' if this claim created it
-- Returns for each key one of
--   'd'   done, or the record already names that run
--   'l'   not my claim any more; also: found, but a reset cut below my claim,
--         which is now a floor
--   '?'   a record that this script does not know; untouched
-- O(n), and one PUBLISH for each claim that was waited for.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local match, sub, find = string.match, string.sub, string.find
local life = tonumber(ARGV[1])
local held = redis.call('MGET', unpack(KEYS))
local replies, records, lives, wake = {}, {}, {}, {}

-- What lies ahead of TIME (the clock stepped back) is kept as much longer, an hour at most.
local function keep(at)
  if at <= now then return life end
  return life + math.ceil(math.min(at - now, 3600000000) / 1000)
end

for i = 1, #KEYS do
  local token, wanted = ARGV[3 * i], ARGV[3 * i + 1]
  local record = held[i]
  local state = record and sub(record, 1, 4)
  local answer = 'l'
  if state == '1|p|' then
    local owner, acc, flags = match(record, '^1|p|([^|]+)|(%d+)|%d+|([wc-]+)$')
    if not owner then
      answer = '?'
    elseif owner == token then -- mutant publish-without-token: else
      if ARGV[3 * i + 2] == '1' and find(flags, 'c', 1, true) then -- mutant publishes-what-it-found: if false then
        records[i] = '1|f|' .. string.format('%.0f', acc + 1)
        lives[i] = keep(tonumber(acc))
      else
        answer = 'd'
        records[i] = wanted
        lives[i] = life
      end
      wake[i] = find(flags, 'w', 1, true)
    end
  elseif state == '1|r|' then
    local mine = match(wanted, '^1|r|[^|]+|')
    if sub(record, 1, #mine) == mine then answer = 'd' end
  elseif record and state ~= '1|f|' and state ~= '1|b|' then
    answer = '?'
  end
  replies[i] = answer
end

for i = 1, #KEYS do
  if records[i] then
    redis.call('SET', KEYS[i], records[i], 'PX', lives[i])
    if wake[i] then redis.call('PUBLISH', ARGV[2], sub(KEYS[i], -43)) end
  end
end
return replies
