package httpapi

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// RateLimit is how many requests each environment may make to this node: a bucket
// of Burst, filled again at PerSecond. The zero RateLimit lets everything through.
type RateLimit struct {
	Burst     int
	PerSecond float64
}

// The headers that clients of the trigger API know of a rate limit. The reset is in
// milliseconds since 1970.
const (
	headerLimit     = "X-Ratelimit-Limit"
	headerRemaining = "X-Ratelimit-Remaining"
	headerReset     = "X-Ratelimit-Reset"
)

// unlimited is what the headers show where no limit is configured: a bucket that is
// always full.
const unlimited = 1_000_000

// longestReset bounds what a refused client is told to wait, which has no bound of
// its own.
const longestReset = 10 * time.Second

// limits are the buckets of the environments that have asked here. There is one for
// each environment with a credential, so there are never many.
type limits struct {
	RateLimit
	now func() time.Time

	mu      sync.Mutex // guards buckets
	buckets map[string]*rate.Limiter
}

func (l *limits) bucket(environment string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[environment]
	if b == nil {
		if l.buckets == nil {
			l.buckets = map[string]*rate.Limiter{}
		}
		b = rate.NewLimiter(rate.Limit(l.PerSecond), l.Burst)
		l.buckets[environment] = b
	}
	return b
}

// showFull puts a bucket that nobody has used into the headers: of who has not said
// yet who they are.
func (l *limits) showFull(h http.Header) {
	most := l.Burst
	if most == 0 {
		most = unlimited
	}
	show(h, most, float64(most), l.now())
}

func show(h http.Header, most int, left float64, reset time.Time) {
	h.Set(headerLimit, strconv.Itoa(most))
	h.Set(headerRemaining, strconv.Itoa(max(0, int(left))))
	h.Set(headerReset, strconv.FormatInt(reset.UnixMilli(), 10))
}

// take takes one request of the environment's bucket, and shows what is left: the
// reset is when the bucket is full again, or, for who is refused, when there is room
// for one request.
func (l *limits) take(h http.Header, environment string) error {
	if l.Burst == 0 {
		return nil
	}
	now, b := l.now(), l.bucket(environment)
	allowed := b.AllowN(now, 1)
	left := b.TokensAt(now)
	until := func(tokens float64) time.Duration {
		return time.Duration(math.Ceil(max(0, tokens-left) / l.PerSecond * float64(time.Second)))
	}
	if allowed {
		show(h, l.Burst, left, now.Add(until(float64(l.Burst))))
		return nil
	}
	after := min(until(1), longestReset)
	show(h, l.Burst, left, now.Add(after))
	return newProblem(http.StatusTooManyRequests, "rate-limited", "Too many requests of this environment; nothing was done. Retry later").
		with("Retry-After", wholeSeconds(max(after, time.Second)))
}
