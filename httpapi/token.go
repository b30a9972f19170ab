package httpapi

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"github.com/e0ff5a15/mollifier/run"
)

// What clients and verifiers of public tokens expect to find in them.
const (
	tokenIssuer   = "https://id.trigger.dev"
	tokenAudience = "https://api.trigger.dev"
	tokenLife     = time.Hour
)

// handleClaims are the claims of the token that comes with a run's handle: it
// may read that run and write to its input streams, and nothing else.
type handleClaims struct {
	Subject string   `json:"sub"`
	Public  bool     `json:"pub"`
	Scopes  []string `json:"scopes"`
}

func claimsFor(environment string, id run.ID) handleClaims {
	return handleClaims{environment, true, []string{"read:runs:" + id.String(), "write:inputStreams:" + id.String()}}
}

// text is the claims for clients that sign on their own side.
func (c handleClaims) text() (string, error) {
	b, err := json.Marshal(c)
	return string(b), err
}

// sign makes the token: HS256 under the environment's own key.
func (c handleClaims) sign(key []byte, now time.Time) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": c.Subject, "pub": c.Public, "scopes": c.Scopes,
		"iss": tokenIssuer, "aud": tokenAudience,
		"iat": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	}).SignedString(key)
}
