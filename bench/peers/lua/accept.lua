-- accept.lua: buffer a run, unless it is there or its key is bound.
-- KEYS: entry, queue of the environment, lookup of the key, environments of the
--   organisation, organisations
-- ARGV: id, environment, organisation, payload, created at in ms
-- Returns 'accepted', 'duplicate', or the id of the run that is bound.
if redis.call('EXISTS', KEYS[1]) == 1 then return 'duplicate' end
local bound = redis.call('GET', KEYS[3])
if bound then return bound end
redis.call('SET', KEYS[3], ARGV[1])
redis.call('HSET', KEYS[1], 'runId', ARGV[1], 'envId', ARGV[2], 'orgId', ARGV[3], 'payload', ARGV[4],
  'status', 'QUEUED', 'attempts', '0', 'createdAt', ARGV[5], 'lookupKey', KEYS[3])
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[2])
redis.call('SADD', KEYS[5], ARGV[3])
return 'accepted'
