package claim

import (
	"crypto/sha1" // the name that Redis gives to a script, not a secret
	_ "embed"
	"encoding/hex"
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

type script struct {
	text string
	sha  string
}

func newScript(text string) script {
	sum := sha1.Sum([]byte(text))
	return script{text: text, sha: hex.EncodeToString(sum[:])}
}

var (
	verbScripts = [...]script{
		Claim:   newScript(claimLua),
		Publish: newScript(publishLua),
		Release: newScript(releaseLua),
		Renew:   newScript(renewLua),
	}
	resetScript = newScript(resetLua)
	clockScript = newScript(clockLua)
)
