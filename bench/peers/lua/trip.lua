-- trip.lua: count one trigger of an environment in a fixed window.
-- KEYS: counter, mark of a tripped environment
-- ARGV: window in ms, threshold, hold in ms
-- Returns { 1 if tripped, the count }.
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
if count > tonumber(ARGV[2]) then redis.call('SET', KEYS[2], '1', 'PX', ARGV[3]) end
return { redis.call('EXISTS', KEYS[2]), count }
