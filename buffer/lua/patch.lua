-- patch.lua: add a patch to an entry, if its version is still the one that the patch was made from.
-- KEYS[1] entry  KEYS[2] counts; of one partition
-- ARGV[1] tag  ARGV[2] version  ARGV[3] the patch, behind the 16 bytes that name this writing
-- ARGV[4] the most patches of an entry  ARGV[5] the most bytes of an entry
-- Returns one element and TIME: 'd' done, now or before; its fields if the version is another; 'm' materialised; 'g'
-- gone; 'f' no more patches; '?' of another version. O(1), or O(n) of the fields.
local f = redis.call('HMGET', KEYS[1], 'v', 'st', 'ver', 'b')
local version, from, bytes = tonumber(f[3] or 0), tonumber(ARGV[2]), tonumber(f[4] or 0)
local answer
if not f[1] then
  answer = 'g'
elseif f[1] ~= '1' then
  answer = '?'
elseif version > from and redis.call('HGET', KEYS[1], 'p' .. text(from + 1)) == ARGV[3] then
  answer = 'd'
elseif f[2] == 'm' then
  answer = 'm'
elseif version ~= from then
  answer = redis.call('HGETALL', KEYS[1])
elseif version >= tonumber(ARGV[4]) or bytes + #ARGV[3] > tonumber(ARGV[5]) then
  answer = 'f'
else
  redis.call('HSET', KEYS[1], 'p' .. text(from + 1), ARGV[3], 'ver', text(from + 1), 'b', text(bytes + #ARGV[3]))
  local counted = redis.call('HMGET', KEYS[2], '*', ARGV[1])
  for i, field in ipairs({ '*', ARGV[1] }) do
    local n, b = match(counted[i] or '', '^(%d+)|(%d+)$')
    if n then redis.call('HSET', KEYS[2], field, n .. '|' .. text(b + #ARGV[3])) end
  end
  answer = 'd'
end
return { answer, text(now) }
