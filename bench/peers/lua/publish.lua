-- publish.lua: turn my claim into the id of the run.
-- KEYS: the key's claim
-- ARGV: token, id, TTL in ms
-- Returns 1, or 0 if the claim is not mine any more.
if redis.call('GET', KEYS[1]) ~= 'pending:' .. ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
