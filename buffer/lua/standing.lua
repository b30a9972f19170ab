-- standing.lua: how entries stand to what a node keeps of them.
-- KEYS: entries
-- ARGV: for each entry, its last version that is kept, and the first 16 bytes of that patch or ''
-- Returns for each 'g' gone; 'a' it is there with that version; 'm' so, and materialised; 'x' it is there without it. An
-- entry of another version of this program is 'a': it is not to be touched. Then TIME. O(n), reads only.
-- A version names all before it, for each was made from the one before.
local replies = {}
for i = 1, #KEYS do
  local version, name = tonumber(ARGV[2 * i - 1]), ARGV[2 * i]
  local h = head(KEYS[i])
  local answer = h == '' and 'g' or h and sub(h, 2, 2) == 'm' and 'm' or 'a'
  if h and h ~= '' and version > 0 then
    if tonumber(sub(h, 69, 73)) < version then
      answer = 'x'
    else
      local whole = read(KEYS[i], -1)
      local at = #whole - tonumber(sub(h, 74, 83)) + 1
      for _ = 2, version do at = at + 4 + struct.unpack('>I4', whole, at) end
      if sub(whole, at + 4, at + 19) ~= name then answer = 'x' end
    end
  end
  replies[i] = answer
end
replies[#replies + 1] = text(now)
return replies
