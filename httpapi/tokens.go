package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/token"
)

func (a *api) tokenOperations() []operation {
	return []operation{
		{
			method: http.MethodPost, path: "/api/v1/auth/jwt/claims", do: a.tokenClaims,
			id: "tokenClaims", summary: "The claims to sign a public token with", answer: reflect.TypeFor[publicClaims](),
		},
		{
			method: http.MethodPost, path: "/api/v1/auth/public-tokens", write: true, do: a.makeToken,
			id: "makeToken", summary: "Make a public token, for keys that sign none themselves",
			request: reflect.TypeFor[tokenBody](), answer: reflect.TypeFor[tokenAnswer](),
		},
	}
}

// The limits of a token that is made here. A token travels in a header.
const (
	tokenLife      = 15 * time.Minute
	maxTokenLife   = 366 * 24 * time.Hour
	maxTokenScopes = 100
	maxScopeLen    = 512
	maxTokenLen    = 8 << 10
)

type tokenBody struct {
	Scopes         field[[]string]      `json:"scopes"`
	OneTimeUse     field[bool]          `json:"oneTimeUse" required:"false"`
	ExpirationTime textOrNumber         `json:"expirationTime" required:"false"`
	Realtime       field[tokenRealtime] `json:"realtime" required:"false"`
}

type tokenRealtime struct {
	SkipColumns field[[]string] `json:"skipColumns" required:"false"`
}

type tokenAnswer struct {
	Token string `json:"token"`
}

// tokenClaims answers POST /api/v1/auth/jwt/claims.
func (a *api) tokenClaims(_ context.Context, c *call) (reply, error) {
	return answer(publicClaims{Subject: c.env.ID, Public: true})
}

// makeToken answers POST /api/v1/auth/public-tokens.
func (a *api) makeToken(_ context.Context, c *call) (reply, error) {
	body, err := readJSON[tokenBody](c)
	if err != nil {
		return reply{}, err
	}
	scopes := body.Scopes.value
	if len(scopes) == 0 || len(scopes) > maxTokenScopes {
		return reply{}, malformed("scopes", "from 1 to "+strconv.Itoa(maxTokenScopes)+" scopes")
	}
	for _, scope := range scopes {
		if scope == "" || len(scope) > maxScopeLen {
			return reply{}, malformed("scopes", "from 1 to "+strconv.Itoa(maxScopeLen)+" bytes each")
		}
	}
	now := a.Now()
	until, err := tokenEnd(body.ExpirationTime, now)
	if err != nil {
		return reply{}, err
	}
	key, err := a.Tenants.SigningKey(c.env.ID)
	if err != nil {
		return reply{}, err
	}
	claims := token.Claims{
		Environment: c.env.ID, Scopes: scopes, OneTime: body.OneTimeUse.value,
		SkipColumns: body.Realtime.value.SkipColumns.value, Expires: until,
	}
	text, err := claims.Sign(key, now)
	if err != nil {
		return reply{}, err
	}
	if len(text) > maxTokenLen {
		return reply{}, unprocessable("scopes", "make a token of more than "+strconv.Itoa(maxTokenLen)+" bytes, which no header carries")
	}
	return answer(tokenAnswer{text})
}

// life is a time to live as the signing libraries of clients take it: "2 hours".
var life = regexp.MustCompile(`^\+? ?(\d{1,9}(?:\.\d{1,9})?) ?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|y|yrs?|years?)(?: from now)?$`)

// tokenEnd is when a token ends: a time to live, or seconds since 1970.
func tokenEnd(in textOrNumber, now time.Time) (time.Time, error) {
	const name = "expirationTime"
	until := now.Add(tokenLife)
	switch in.kind {
	case jsontext.KindNumber:
		until = time.Unix(0, 0).Add(seconds(in.number))
	case jsontext.KindString:
		d, err := parseDuration(in.text)
		if parts := life.FindStringSubmatch(in.text); err != nil && parts != nil {
			n, _ := strconv.ParseFloat(parts[1], 64)
			d, err = seconds(n*map[byte]float64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400, 'y': 365.25 * 86400}[parts[2][0]]), nil
		}
		if err != nil {
			return until, malformed(name, "must be a time to live, as 15m, or seconds since 1970")
		}
		until = now.Add(min(d, 2*maxTokenLife))
	}
	if !until.After(now) || until.After(now.Add(maxTokenLife)) {
		return until, malformed(name, "must lie in the future, at most 366 days")
	}
	return until, nil
}
