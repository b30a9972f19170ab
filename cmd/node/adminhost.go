package main

import (
	"io"
	"net"
	"net/http"
	"net/netip"
)

// byAddress serves requests whose host is an address or localhost. It is for a listener
// on loopback, which shows its figures to whoever reaches it: a page of another site can
// have its own name lead to 127.0.0.1, and would then be of the same origin; it can not
// have a name be an address.
func byAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
			host = host[1 : len(host)-1]
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusMisdirectedRequest)
			_, _ = io.WriteString(w, `{"error":"the admin listener is on loopback and answers by its address or as localhost only"}`+"\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}
