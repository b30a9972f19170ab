package httpapi

import (
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/e0ff5a15/mollifier/token"
)

// handleLife is how long the token lives that comes with the handle of a run or a
// batch.
const handleLife = time.Hour

// publicClaims are claims for clients that sign on their own side.
type publicClaims struct {
	Subject string   `json:"sub"`
	Public  bool     `json:"pub"`
	Scopes  []string `json:"scopes,omitzero"`
}

// handToken puts a token with these scopes, and its claims, into the headers of an
// answer: the handle of what the call has made. That is made: a token that can not
// be signed is left out, and must not turn the answer into an error. With the
// claims alone a client signs its own.
func (a *api) handToken(header http.Header, environment string, scopes ...string) {
	if text, err := json.Marshal(publicClaims{environment, true, scopes}); err == nil {
		header.Set(headerClaims, string(text))
	}
	key, err := a.Tenants.SigningKey(environment)
	if err != nil {
		return
	}
	now := a.Now()
	claims := token.Claims{Environment: environment, Scopes: scopes, Expires: now.Add(handleLife)}
	if text, err := claims.Sign(key, now); err == nil {
		header.Set(headerToken, text)
	}
}
