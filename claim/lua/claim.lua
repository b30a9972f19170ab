#!lua
-- claim.lua: for each key, take it or say who has it. Own token: claimed again.
-- KEYS[i]      record of key i; on Cluster all of one slot; no key twice
-- ARGV[1]      TTL of a claim in us
-- ARGV[2]      life of a pending record in ms
-- ARGV[4i-1]   token
-- ARGV[4i]     run id that the caller saw lose the key, or ''
-- ARGV[4i+1]   the least acceptance time that will do; an own claim from before it is taken anew
-- ARGV[4i+2]   '1': an own claim is taken anew whenever it was accepted; it was made for callers that have gone
-- Returns for each key one of
--   'c' acceptance time   claimed
--   'w' us                another's claim, over in so many us; flag w is set
--   the record            resolved to a run
--   the record and '|q'   bound to a buffered run, which nobody has leased yet
--   the record and '|l'   bound to a buffered run, which may be in Postgres too
--   '?'                   a record that this script does not know; untouched
-- O(n). Refused when Redis is out of memory (no flags).
local ceiling = 9007199254740000 -- above it doubles skip integers
local longest = 30000000 -- the longest TTL that a claim may have, in us
local waited = { ['-'] = 'w', w = 'w', c = 'cw', cw = 'cw', wc = 'cw' }
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local match, sub, find, format = string.match, string.sub, string.find, string.format
local deadline = format('%.0f', now + ARGV[1])
local life = tonumber(ARGV[2])
local held = redis.call('MGET', unpack(KEYS))
local replies, records, lives = {}, {}, {}

-- What lies ahead of TIME (the clock stepped back) is kept as much longer, an hour at most.
local function keep(at)
  if at <= now then return life end
  return life + math.ceil(math.min(at - now, 3600000000) / 1000)
end

for i = 1, #KEYS do
  local token, observed, floor = ARGV[4 * i - 1], ARGV[4 * i], tonumber(ARGV[4 * i + 1])
  local record = held[i]
  local least = 0 -- the least acceptance time if the key can be taken
  local answer
  if record then
    local state = sub(record, 1, 4)
    if state == '1|p|' then
      local owner, acc, ends, flags = match(record, '^1|p|([^|]+)|(%d+)|(%d+)|([wc-]+)$')
      if not owner or not waited[flags] then
        answer = '?'
      elseif owner == token then -- mutant deaf-to-own-claim: elseif false then
        least = tonumber(acc)
        if least < floor or ARGV[4 * i + 2] == '1' then
          least = math.max(least, floor, now)
          acc = format('%.0f', least)
        end
        answer = 'c' .. acc
        records[i] = '1|p|' .. token .. '|' .. acc .. '|' .. deadline .. '|' .. flags
      elseif tonumber(ends) > now then
        local left = ends - now
        if left > longest then -- the clock stepped back: no claim lives so long
          left = longest
          ends = format('%.0f', now + left)
        elseif find(flags, 'w', 1, true) then
          ends = nil
        end
        answer = 'w' .. format('%.0f', left)
        if ends then
          records[i] = '1|p|' .. owner .. '|' .. acc .. '|' .. ends .. '|' .. waited[flags]
          lives[i] = 0
        end
      else
        least = acc + 1
      end
    elseif state == '1|r|' then
      local id, acc, ends = match(record, '^1|r|([^|]+)|(%d+)|(%d+)|')
      if not id then
        answer = '?'
      elseif tonumber(ends) > now and id ~= observed then -- mutant replaces-unobserved: elseif tonumber(ends) > now and observed == '' then
        answer = record
      else
        least = acc + 1
      end
    elseif state == '1|b|' then
      local id, acc, ends, tag = match(record, '^1|b|([^|]+)|(%d+)|(%d+)|[^|]+|[^|]+|([%w_-]+)$')
      if not id then
        answer = '?'
      else
        if tonumber(ends) > now and id ~= observed then -- mutant no-lookup-in-claim: if false then
          -- The entry's name: this key's, whose last 45 characters are 'k:' and the hash, with what the record says.
          -- Its second byte is the status; an entry of form 1 is a hash.
          local entry = sub(KEYS[i], 1, -46) .. 'e:' .. tag .. ':' .. id
          local head = redis.pcall('GETRANGE', entry, 0, 1)
          if type(head) == 'table' then
            local status = redis.pcall('HGET', entry, 'st')
            head = type(status) == 'table' and '?' or status and '2' .. status or ''
          end
          if head == '2q' then
            answer = record .. '|q'
          elseif sub(head, 1, 1) == '2' then
            answer = record .. '|l'
          elseif head ~= '' then
            answer = '?'
          end
        end
        if not answer then least = acc + 1 end -- over, observed, or its entry is gone
      end
    else
      local free = match(record, '^1|f|(%d+)$')
      if free then
        least = tonumber(free)
      else
        answer = '?'
      end
    end
  end
  if not answer then least = math.max(least, floor) end
  if least > ceiling then answer, records[i] = '?', nil end
  if not answer then
    local acc = format('%.0f', math.max(least, now))
    answer = 'c' .. acc
    records[i] = '1|p|' .. token .. '|' .. acc .. '|' .. deadline .. '|-'
  end
  if records[i] and not lives[i] then lives[i] = keep(least) end
  replies[i] = answer
end

for i = 1, #KEYS do
  local record = records[i]
  if not record then
    -- answered without a write
  elseif lives[i] == 0 then
    redis.call('SET', KEYS[i], record, 'KEEPTTL')
  elseif held[i] then
    redis.call('SET', KEYS[i], record, 'PX', lives[i])
  elseif not redis.call('SET', KEYS[i], record, 'PX', lives[i], 'NX') then
    replies[i] = '?' -- MGET shows a key of another type as absent
  end
end
return replies
