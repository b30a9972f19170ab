#!lua flags=allow-oom
-- exchange.lua: a node leaves its word and is told those of the others.
-- KEYS[1]   the board: a hash from a node to '<TIME in ms>|<word>'
-- ARGV[1]   the node
-- ARGV[2]   its word; '' takes it back
-- ARGV[3]   life of a word, and of the board, in ms
-- ARGV[4]   most nodes
-- Returns a triple for each other node: its id, the age of its word in ms, its word.
-- O(nodes). May be repeated. Allowed when Redis is out of memory: the board is bounded, and
-- that is when somebody looks at it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, word, life, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local board, others, known, mine = redis.call('HGETALL', KEYS[1]), {}, 0, false

for i = 1, #board, 2 do
  local id, at, said = board[i], string.match(board[i + 1], '^(%d+)|(.*)$')
  local age = at and math.max(now - at, 0)
  -- A clock that was set back makes a word older than it is, never immortal.
  if not at or age > life or at - now > life then
    redis.call('HDEL', KEYS[1], id)
  else
    known = known + 1
    if id == node then
      mine = true
    else
      others[#others + 1] = id
      others[#others + 1] = string.format('%.0f', age)
      others[#others + 1] = said
    end
  end
end

if word == '' then
  redis.call('HDEL', KEYS[1], node)
elseif mine or known < most then
  redis.call('HSET', KEYS[1], node, string.format('%.0f|', now) .. word)
  redis.call('PEXPIRE', KEYS[1], life)
end
return others
