package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/e0ff5a15/mollifier/tenant"
)

// Tenants knows credentials. It is asked on every request and must answer from
// memory; it is safe for concurrent use.
type Tenants interface {
	// Authenticate returns the environment that the key opens. Errors:
	// [tenant.ErrUnknownKey]; run.ErrUnavailable when it can not be known.
	Authenticate(ctx context.Context, bearer string) (tenant.Environment, error)
	// SigningKey returns the key that public tokens of the environment are
	// signed with.
	SigningKey(environmentID string) ([]byte, error)
}

// authenticate returns the environment of the request's credential. Every
// failure but an unavailable store is 401, each with the text that clients know.
func authenticate(r *http.Request, tenants Tenants) (tenant.Environment, error) {
	header := r.Header.Values("Authorization")
	if len(header) == 0 {
		return tenant.Environment{}, unauthorized("No authorization header")
	}
	scheme, key, _ := strings.Cut(header[0], " ")
	key = strings.TrimSpace(key)
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") || key == "" {
		return tenant.Environment{}, unauthorized("Invalid or Missing API key")
	}
	env, err := tenants.Authenticate(r.Context(), key)
	switch {
	case errors.Is(err, tenant.ErrUnknownKey) && strings.Count(key, ".") == 2:
		// The form of a signed token: no key has dots.
		return env, unauthorized("Public Access Token is invalid")
	case errors.Is(err, tenant.ErrUnknownKey):
		return env, unauthorized("Invalid API key")
	case err != nil:
		return env, err
	}
	if env.Type == tenant.Preview && strings.TrimSpace(r.Header.Get("X-Trigger-Branch")) == "" {
		return env, unauthorized("A preview key needs the x-trigger-branch header")
	}
	return env, nil
}

func unauthorized(text string) error {
	return newProblem(http.StatusUnauthorized, "unauthorized", text).with("WWW-Authenticate", "Bearer")
}
