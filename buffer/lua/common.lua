local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local match, sub, find, format, rep = string.match, string.sub, string.find, string.format, string.rep
local ceiling = 9007199254740000 -- above it doubles skip integers

-- An instant as text; concatenation would write an exponent.
local function text(at) return format('%.0f', at) end

-- The head of an entry, by the places of its fields: 1 form, 2 status, 3-24 token of the lease, 25-30 lapsed leases,
-- 31-36 attempts, 37-52 acceptance, 53-68 end of the key's interval, 69-73 patches, 74-83 bytes of all patches with
-- their lengths, 84-126 hash of the key. The snapshot follows, then each patch behind its length in 4 bytes.
local headSize, noToken, noHash = 126, rep(' ', 22), rep(' ', 43)

-- An entry of form 1, a hash, in form 2; nil if it is neither.
local function converted(entry)
  local fields, f = redis.pcall('HGETALL', entry), {}
  if fields.err then return nil end
  for i = 1, #fields, 2 do f[fields[i]] = fields[i + 1] end
  local ver, patches = tonumber(f.ver or 0), {}
  if f.v ~= '1' or not (f.s and f.st and f.acc) then return nil end
  for n = 1, ver do
    local patch = f['p' .. text(n)]
    if not patch then return nil end
    patches[n] = struct.pack('>I4', #patch) .. patch
  end
  patches = table.concat(patches)
  return format('2%s%s%06d%06d%016.0f%016.0f%05d%010d%s', f.st, f.t or noToken, tonumber(f.x or 0), tonumber(f.n or 0),
    tonumber(f.acc), tonumber(f['until'] or 0), ver, #patches, f.h or noHash) .. f.s .. patches
end

-- An entry up to its byte number last (-1: all of it), in form 2: '' if it is gone, nil if it is of neither form.
-- For an entry of form 1 all of it follows.
local function read(entry, last)
  local raw = redis.pcall('GETRANGE', entry, 0, last)
  if type(raw) == 'table' then
    local whole = converted(entry)
    return whole and sub(whole, 1, last < 0 and -1 or last + 1), whole
  end
  if raw == '' or sub(raw, 1, 1) == '2' and #raw >= math.min(headSize, last < 0 and headSize or last + 1) then return raw end
end

local function head(entry) return (read(entry, headSize - 1)) end

-- The same for who is about to write: an entry of form 1 is one of form 2 from then on.
local function own(entry, last)
  local raw, whole = read(entry, last)
  if whole then redis.call('SET', entry, whole, 'KEEPTTL') end
  return raw
end

local function ownHead(entry) return own(entry, headSize - 1) end

-- How long a record is kept, in ms: what lies ahead of TIME (the clock stepped back) as much longer, an hour at most.
local function keep(at, life)
  if at <= now then return life end
  return life + math.ceil(math.min(at - now, 3600000000) / 1000)
end

-- The bytes that an entry of that length and that head counts for.
local function counted(size, h) return size - headSize - 4 * tonumber(sub(h, 69, 73)) end

-- So many entries with so many bytes have left: the counts of their environment and of all.
local function leave(usage, envs, tag, gone, bytes)
  for i, counts in ipairs(redis.call('HMGET', usage, tag, '*')) do
    local field = i == 1 and tag or '*'
    if counts then
      local n, b = match(counts, '^(%d+)|(%d+)$')
      n, b = (tonumber(n) or 0) - gone, math.max((tonumber(b) or 0) - bytes, 0)
      if n > 0 then
        redis.call('HSET', usage, field, text(n) .. '|' .. text(b))
      else
        redis.call('HDEL', usage, field)
        if i == 1 then redis.call('HDEL', envs, tag) end
      end
    end
  end
end
