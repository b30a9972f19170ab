#!lua flags=allow-oom
-- beat.lua: take what a node had written last into names of its own, and write the next.
-- KEYS: names  ARGV[1] the next  ARGV[2] how long it stays, in ms
-- Returns what was there in each, '' if nothing; then run_id '/' master_replid of the server. O(n).
local replies = {}
for i = 1, #KEYS do
  replies[i] = redis.call('GET', KEYS[i]) or ''
  redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
end
local function told(section, name) return string.match(redis.call('INFO', section), name .. ':(%x+)') or '' end
replies[#replies + 1] = told('server', 'run_id') .. '/' .. told('replication', 'master_replid')
return replies
