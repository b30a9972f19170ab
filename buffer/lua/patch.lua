-- patch.lua: add a patch to an entry, if its version is still the one that the patch was made from.
-- KEYS[1] entry  KEYS[2] counts; of one partition
-- ARGV[1] tag  ARGV[2] version  ARGV[3] the patch, behind the 16 bytes that name this writing
-- ARGV[4] the most patches of an entry  ARGV[5] the most bytes of an entry
-- Returns one element and TIME: 'd' done, now or before; the entry if its version is another; 'm' materialised; 'g'
-- gone; 'f' no more patches; '?' of another version. O(1), or O(n) of the entry.
local entry, from, patch = KEYS[1], tonumber(ARGV[2]), ARGV[3]
local h = ownHead(entry)
local version = tonumber(h and h ~= '' and sub(h, 69, 73) or 0)

-- written reports whether the patch after that version is this one.
local function written()
  local whole = read(entry, -1)
  local at = #whole - tonumber(sub(h, 74, 83)) + 1
  for _ = 1, from do at = at + 4 + struct.unpack('>I4', whole, at) end
  return sub(whole, at + 4, at + 3 + struct.unpack('>I4', whole, at)) == patch
end

local answer
if not h then
  answer = '?'
elseif h == '' then
  answer = 'g'
elseif version > from and written() then
  answer = 'd'
elseif sub(h, 2, 2) == 'm' then
  answer = 'm'
elseif version ~= from then -- mutant patch-without-version: elseif false then
  answer = read(entry, -1)
elseif version >= tonumber(ARGV[4]) or counted(redis.call('STRLEN', entry), h) + #patch > tonumber(ARGV[5]) then
  answer = 'f'
else
  redis.call('APPEND', entry, struct.pack('>I4', #patch) .. patch)
  redis.call('SETRANGE', entry, 68, format('%05d%010d', from + 1, tonumber(sub(h, 74, 83)) + 4 + #patch))
  local counts = redis.call('HMGET', KEYS[2], '*', ARGV[1])
  for i, field in ipairs({ '*', ARGV[1] }) do
    local n, b = match(counts[i] or '', '^(%d+)|(%d+)$')
    if n then redis.call('HSET', KEYS[2], field, n .. '|' .. text(b + #patch)) end
  end
  answer = 'd'
end
return { answer, text(now) }
