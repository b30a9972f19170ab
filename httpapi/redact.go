package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"runtime"
	"strings"

	"github.com/e0ff5a15/mollifier/run"
)

// addressLike matches what names a machine or a login in the errors of drivers
// and of net/http: URLs, host:port in all forms, and key=value parts of
// connection strings.
var addressLike = regexp.MustCompile(`[a-z][a-z0-9+.-]*://\S+|\[[0-9A-Fa-f:.%a-z]*\]:\d+|[0-9A-Za-z._-]+:\d+|\b(?:host|hostaddr|user|password|database|dbname)=\S+|\d{1,3}(?:\.\d{1,3}){3}`)

// scrub makes a text fit for a log: one line, bounded, without addresses.
func scrub(text string) string {
	const most = 300
	text, _, _ = strings.Cut(text, "\n")
	text = addressLike.ReplaceAllString(text, "***")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// cause describes an error for the log. What the network layer says always
// names a host, so of such an error only its kind is kept.
func cause(err error) string {
	var refused *run.RefusedError
	if errors.As(err, &refused) {
		return refused.Part + ": " + refused.Reason.Error()
	}
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return "network: name resolution failed"
	case errors.As(err, &op):
		return "network: " + op.Op + " failed"
	}
	return scrub(err.Error())
}

// panicked describes a recovered value without its content, which may be
// anything; the runtime's own errors hold no data of ours.
func panicked(value any) string {
	if e, ok := value.(runtime.Error); ok {
		return scrub(e.Error())
	}
	return fmt.Sprintf("%T", value)
}

// serverLog is where net/http writes what it can not return. Its lines begin
// with fixed words and go on with addresses or, for a panic, with its value.
type serverLog struct{ log *slog.Logger }

// Write implements io.Writer.
func (l serverLog) Write(line []byte) (int, error) {
	text := string(line)
	if before, _, found := strings.Cut(text, "panic serving"); found {
		text = before + "panic while serving"
	}
	l.log.Warn("http server", "message", scrub(text))
	return len(line), nil
}
