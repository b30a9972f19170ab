package buffer

import (
	_ "embed"

	"github.com/e0ff5a15/mollifier/redisdb"
)

// The text of every script is a constant of the build: the flags, what all
// share, and its own part.
var (
	//go:embed lua/common.lua
	commonLua string
	//go:embed lua/accept.lua
	acceptLua string
	//go:embed lua/lease.lua
	leaseLua string
	//go:embed lua/extend.lua
	extendLua string
	//go:embed lua/requeue.lua
	requeueLua string
	//go:embed lua/reap.lua
	reapLua string
	//go:embed lua/revive.lua
	reviveLua string
	//go:embed lua/ack.lua
	ackLua string
	//go:embed lua/fail.lua
	failLua string
	//go:embed lua/landed.lua
	landedLua string
	//go:embed lua/patch.lua
	patchLua string
	//go:embed lua/get.lua
	getLua string
	//go:embed lua/list.lua
	listLua string
	//go:embed lua/usage.lua
	usageLua string
	//go:embed lua/heads.lua
	headsLua string
	//go:embed lua/stale.lua
	staleLua string
	//go:embed lua/standing.lua
	standingLua string
	//go:embed lua/restore.lua
	restoreLua string
)

const (
	grows   = "#!lua\n"                 // refused when Redis is out of memory
	frees   = "#!lua flags=allow-oom\n" // what empties the buffer goes on then
	readsIt = "#!lua flags=no-writes\n"
)

var (
	acceptScript  = redisdb.NewClockScript(grows + commonLua + acceptLua)
	patchScript   = redisdb.NewScript(grows + commonLua + patchLua)
	leaseScript   = redisdb.NewScript(frees + commonLua + leaseLua)
	extendScript  = redisdb.NewScript(frees + commonLua + extendLua)
	requeueScript = redisdb.NewScript(frees + commonLua + requeueLua)
	reapScript    = redisdb.NewScript(frees + commonLua + reapLua)
	reviveScript  = redisdb.NewScript(frees + commonLua + reviveLua)
	ackScript     = redisdb.NewScript(frees + commonLua + ackLua)
	failScript    = redisdb.NewScript(frees + commonLua + failLua)
	landedScript  = redisdb.NewScript(frees + commonLua + landedLua)
	getScript     = redisdb.NewScript(readsIt + commonLua + getLua)
	listScript    = redisdb.NewScript(readsIt + commonLua + listLua)
	usageScript   = redisdb.NewScript(readsIt + commonLua + usageLua)
	headsScript   = redisdb.NewScript(readsIt + commonLua + headsLua)
	staleScript   = redisdb.NewScript(readsIt + commonLua + staleLua)
	standsScript  = redisdb.NewScript(readsIt + commonLua + standingLua)
	restoreScript = redisdb.NewScript(grows + commonLua + restoreLua)
)
