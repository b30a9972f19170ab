local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local match, sub, find, format = string.match, string.sub, string.find, string.format
local ceiling = 9007199254740000 -- above it doubles skip integers

-- An instant as text; concatenation would write an exponent.
local function text(at) return format('%.0f', at) end

-- How long a record is kept, in ms: what lies ahead of TIME (the clock stepped back) as much longer, an hour at most.
local function keep(at, life)
  if at <= now then return life end
  return life + math.ceil(math.min(at - now, 3600000000) / 1000)
end

-- An entry of that many bytes has left: the counts of its environment and of all.
local function leave(usage, envs, tag, bytes)
  for i, counted in ipairs(redis.call('HMGET', usage, tag, '*')) do
    local field = i == 1 and tag or '*'
    if counted then
      local n, b = match(counted, '^(%d+)|(%d+)$')
      n, b = (tonumber(n) or 0) - 1, math.max((tonumber(b) or 0) - bytes, 0)
      if n > 0 then
        redis.call('HSET', usage, field, text(n) .. '|' .. text(b))
      else
        redis.call('HDEL', usage, field)
        if i == 1 then redis.call('HDEL', envs, tag) end
      end
    end
  end
end
