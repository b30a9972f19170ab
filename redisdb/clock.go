package redisdb

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// MaxInstant is the last instant that scripts calculate with exactly: they have
// only doubles.
const MaxInstant run.Instant = 9007199254740000

// fresh is how long a reading takes part in [DB.LastTime] beside later ones of
// other servers.
const fresh = time.Second

// clock keeps the last reading of each server's TIME.
type clock struct {
	mu       sync.Mutex
	readings []reading       // by server; one, but for a cluster
	servers  map[string]bool // that were ever heard of
}

type reading struct {
	epoch string // the server's run id
	at    run.Instant
	heard time.Time // monotonic: when the reply had been received
}

// saw takes a reading. The one received last counts, even if it is not the
// greatest: every reading was true, and the clock may have stepped back. It reports
// whether the server is another than all before.
func (c *clock) saw(at run.Instant, epoch string, now time.Time) (anew bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.servers[epoch] {
		anew = len(c.servers) > 0
		if c.servers == nil {
			c.servers = map[string]bool{}
		}
		c.servers[epoch] = true
	}
	kept := c.readings[:0]
	for _, r := range c.readings {
		if r.epoch != epoch && now.Sub(r.heard) < fresh {
			kept = append(kept, r)
		}
	}
	c.readings = append(kept, reading{epoch, at, now})
	return anew
}

// know takes servers that were met before any reading: none of them is another one.
func (c *clock) know(epochs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.servers == nil {
		c.servers = map[string]bool{}
	}
	for _, epoch := range epochs {
		c.servers[epoch] = true
	}
}

func (c *clock) last() (at run.Instant, heard time.Time, epoch string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var epochs []string
	for i, r := range c.readings {
		if i == 0 || r.at < at {
			at = r.at
		}
		if i == 0 || r.heard.Before(heard) {
			heard = r.heard
		}
		epochs = append(epochs, r.epoch)
	}
	return at, heard, strings.Join(epochs, " ")
}

// LastTime returns an instant of Redis's clock that this node has received, the
// local moment at which it had been received, and the run id of the server that
// it came from. With several servers (a cluster) it is the oldest of their last
// readings of about a second, and epoch names all of those servers, so that it
// is an instant not later than what any of them had told. at is 0 if there was
// no reading yet. A reading may be long ago: see heard.
func (d *DB) LastTime() (at run.Instant, heard time.Time, epoch string) { return d.clock.last() }

// clockScript does nothing but to tell the time.
var clockScript = NewClockScript(`#!lua flags=no-writes
local time = redis.call('TIME')
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
return { string.format('%.0f', time[1] * 1000000 + time[2]) .. '|' .. server }
`)

// ClockCall is a call that brings a reading for [DB.LastTime] and has no values.
// It is for round trips that go out anyway; it costs Redis some 10 us.
func ClockCall() Call { return Call{Script: clockScript} }

// parseClock reads what a clock script appends to its reply: TIME in us, '|',
// the server's run id.
func parseClock(text string) (at run.Instant, epoch string, ok bool) {
	digits, epoch, found := strings.Cut(text, "|")
	at, ok = ParseInstant(digits)
	if !ok || !found || epoch == "" || strings.Contains(epoch, " ") {
		return 0, "", false
	}
	return at, epoch, true
}

// ParseInstant reads an instant as scripts write it: plain decimal digits,
// without sign or blank, up to [MaxInstant]. It is total.
func ParseInstant(text string) (run.Instant, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || run.Instant(n) > MaxInstant {
		return 0, false
	}
	return run.Instant(n), true
}
