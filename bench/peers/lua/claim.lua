-- claim.lua: take a key, or say what is there.
-- KEYS: the key's claim, the key's lookup in the buffer
-- ARGV: token, TTL in ms
-- Returns 'claimed', 'pending', or the id of the run.
local bound = redis.call('GET', KEYS[2])
if bound then return bound end
if redis.call('SET', KEYS[1], 'pending:' .. ARGV[1], 'NX', 'PX', ARGV[2]) then return 'claimed' end
local held = redis.call('GET', KEYS[1])
if string.sub(held, 1, 8) == 'pending:' then return 'pending' end
return held
