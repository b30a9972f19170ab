package httpapi

import (
	"net/http"

	"github.com/rs/cors"
)

// crossOrigin lets pages of the given origins ("https://app.example", or "*") use
// the API from a browser, with tokens that they send themselves: cookies are never
// looked at, so nothing is allowed that the page could not do elsewhere.
func crossOrigin(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{
			headerToken, headerClaims, headerAlias, headerPartial, headerLimit, headerRemaining, headerReset,
			"Retry-After", "X-Request-Id", "X-Should-Retry", "Idempotent-Replayed",
			"Electric-Handle", "Electric-Offset", "Electric-Schema", "Electric-Cursor", "Electric-Up-To-Date",
		},
		MaxAge: 600,
	}).Handler(next)
}
