package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/e0ff5a15/mollifier/tenant"
	"github.com/e0ff5a15/mollifier/token"
)

// Tenants knows credentials. It is asked on every request and must answer from
// memory; it is safe for concurrent use.
type Tenants interface {
	// Authenticate returns the environment that the key opens. Errors:
	// [tenant.ErrUnknownKey]; run.ErrUnavailable when it can not be known.
	Authenticate(ctx context.Context, bearer string) (tenant.Environment, error)
	// AuthenticateToken returns the environment of a public token, and what it
	// grants. Errors: [token.ErrInvalid]; run.ErrUnavailable when it can not be known.
	AuthenticateToken(ctx context.Context, text string) (tenant.Environment, token.Claims, error)
	// SigningKey returns the key that public tokens of the environment are
	// signed with.
	SigningKey(environmentID string) ([]byte, error)
}

// authenticate sets the environment of the request's credential, and what a token
// grants. Every failure but an unavailable store is 401, each with the text that
// clients know.
func (c *call) authenticate(tenants Tenants) error {
	header := c.Header.Values("Authorization")
	if len(header) == 0 {
		return unauthorized("No authorization header")
	}
	scheme, credential, _ := strings.Cut(header[0], " ")
	credential = strings.TrimSpace(credential)
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") || credential == "" {
		return unauthorized("Invalid or Missing API key")
	}
	if token.Looks(credential) {
		env, claims, err := tenants.AuthenticateToken(c.Context(), credential)
		if errors.Is(err, token.ErrInvalid) {
			return unauthorized("Public Access Token is invalid")
		}
		c.env, c.token = env, &claims
		return err
	}
	env, err := tenants.Authenticate(c.Context(), credential)
	switch {
	case errors.Is(err, tenant.ErrUnknownKey):
		return unauthorized("Invalid API key")
	case err != nil:
		return err
	}
	// A token is of an environment that its signer chose; a preview key opens one
	// for many branches.
	if env.Type == tenant.Preview && strings.TrimSpace(c.Header.Get("X-Trigger-Branch")) == "" {
		return unauthorized("A preview key needs the x-trigger-branch header")
	}
	c.env = env
	return nil
}

func unauthorized(text string) error {
	return newProblem(http.StatusUnauthorized, "unauthorized", text).with("WWW-Authenticate", "Bearer")
}
