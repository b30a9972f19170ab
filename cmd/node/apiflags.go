package main

import (
	"net/url"
	"strings"
)

// checkAPI refuses what the API can not be served with.
func (s *settings) checkAPI() error {
	s.publicURL = strings.TrimRight(s.publicURL, "/")
	if s.publicURL != "" && !webAddress(s.publicURL) {
		return usagef("-public-url: must be http://HOST or https://HOST, with or without a path")
	}
	if s.rateLimit.Burst < 0 || s.rateLimit.Burst > 1_000_000_000 {
		return usagef("-rate-limit: must be 0 to 1000000000")
	}
	if s.rateLimit.PerSecond <= 0 || s.rateLimit.PerSecond > 1e9 {
		return usagef("-rate-refill: must be more than 0, and at most 1000000000")
	}
	for _, origin := range s.origins() {
		if u, _ := url.Parse(origin); origin != "*" && (!webAddress(origin) || u.Path != "") {
			return usagef("-cors-origins: %q is neither * nor an origin, as https://app.example", origin)
		}
	}
	return nil
}

// webAddress reports whether a text is the address of a place on the web, without
// credentials, query or fragment.
func webAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// origins are those of -cors-origins.
func (s *settings) origins() (all []string) {
	for origin := range strings.SplitSeq(s.corsOrigins, ",") {
		if origin = strings.TrimSpace(origin); origin != "" {
			all = append(all, origin)
		}
	}
	return all
}
