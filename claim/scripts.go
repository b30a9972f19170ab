package claim

import (
	_ "embed"

	"github.com/e0ff5a15/mollifier/redisdb"
)

// The text of every script is a constant of the build. What callers bring goes
// to it as arguments, never into it.
var (
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/publish.lua
	publishLua string
	//go:embed lua/release.lua
	releaseLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/reset.lua
	resetLua string
	//go:embed lua/clock.lua
	clockLua string
)

var (
	verbScripts = [...]*redisdb.Script{
		Claim:   redisdb.NewScript(claimLua),
		Publish: redisdb.NewScript(publishLua),
		Release: redisdb.NewScript(releaseLua),
		Renew:   redisdb.NewScript(renewLua),
	}
	resetScript = redisdb.NewScript(resetLua)
	clockScript = redisdb.NewScript(clockLua)
)
