#!lua flags=allow-oom
-- beat.lua: take what a node had written last into names of its own, and write the next.
-- KEYS: names  ARGV[1] the next  ARGV[2] how long it stays, in ms
-- Returns what was there in each, '' if nothing; then run_id '/' master_replid of the server; then its clock. O(n).
local replies = {}
for i = 1, #KEYS do
  replies[i] = redis.call('GET', KEYS[i]) or ''
  redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
end
local function told(section, name) return string.match(redis.call('INFO', section), name .. ':(%x+)') or '' end
local server, time = told('server', 'run_id'), redis.call('TIME')
replies[#replies + 1] = server .. '/' .. told('replication', 'master_replid')
replies[#replies + 1] = string.format('%.0f', time[1] * 1000000 + time[2]) .. '|' .. server
return replies
