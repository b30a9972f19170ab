package redisdb

import (
	"context"
	"crypto/sha1" // the name that Redis gives to a script, not a secret
	"encoding/hex"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

// Script is a Lua script, whose text must be a constant of the build: what
// callers bring goes to it as arguments, never into it. It must reply with an
// array; a reply of nothing or a single value is an error.
type Script struct {
	text, sha string
	timed     bool
}

// NewScript takes the text of a script.
func NewScript(text string) *Script {
	text = mutant.Text(text)
	sum := sha1.Sum([]byte(text))
	return &Script{text: text, sha: hex.EncodeToString(sum[:])}
}

// NewClockScript takes the text of a script that appends one element to its
// reply: TIME in microseconds, '|', and the run id of the server it runs on, as
// INFO says it, all read in that execution. [DB.Run] takes the element away and
// keeps it for [DB.LastTime].
func NewClockScript(text string) *Script {
	s := NewScript(text)
	s.timed = true
	return s
}

// SHA is the name under which Redis keeps the script.
func (s *Script) SHA() string { return s.sha }

// Call is one execution of a script. Args may be strings, pointers to strings,
// byte slices and integers. On a cluster all Keys must be of one slot.
type Call struct {
	Script *Script
	Keys   []string
	Args   []any
	// Durable: its answer counts only if what it wrote is as durable as
	// Config.Durability says. Else it is an error of unknown outcome.
	Durable bool
}

// Result is what a [Call] came to: the elements of the reply or an error, never
// both. An element is a string, an int64, nil, or a []any of elements.
type Result struct {
	Values []any
	// At is the TIME at which a clock script was executed; 0 for others.
	At run.Instant
	// Err wraps [run.ErrUnavailable]. It says about this call alone whether it
	// may have been executed; see [OutcomeUnknown].
	Err error
}

// Strings returns Values if there are n of them and all are strings.
func (r Result) Strings(n int) ([]string, bool) {
	if len(r.Values) != n {
		return nil, false
	}
	texts := make([]string, n)
	for i, v := range r.Values {
		text, ok := v.(string)
		if !ok {
			return nil, false
		}
		texts[i] = text
	}
	return texts, true
}

// outcome is what came of a call, as this package sees it.
type outcome struct {
	values []any
	at     run.Instant
	err    *callError
}

// Run executes the calls in one round trip, in their order on each server (but for
// those that come last, because their server had lost their script, or sent them
// elsewhere), and returns a result for each in its place. It never waits longer than
// the configured deadline, and not at all for a server whose breaker is open.
func (d *DB) Run(ctx context.Context, calls []Call) []Result {
	if len(calls) == 0 {
		return nil
	}
	outcomes := make([]outcome, len(calls))
	if l := d.link.Load(); l == nil {
		fail(outcomes, &callError{text: "Redis is not open"})
	} else {
		within, cancel := context.WithTimeout(ctx, d.cfg.Deadline)
		d.travel(ctx, within, l, calls, outcomes)
		cancel()
	}
	results := make([]Result, len(calls))
	for i, o := range outcomes {
		if o.err != nil {
			results[i].Err = d.refusal(o.err)
		} else {
			results[i].Values, results[i].At = o.values, o.at
		}
	}
	return results
}

// visit makes a trip, unless the server's breaker is open.
func (d *DB) visit(ctx, within context.Context, l *link, t *trip, calls []Call) {
	if t.server.breaker.do(func() *callError {
		all := make([]int, len(t.which))
		for n := range all {
			all[n] = n
		}
		if again := d.send(within, l, t, calls, all, false); len(again) > 0 {
			d.send(within, l, t, calls, again, true)
		}
		counts := verdict(ctx, t.outcomes)
		if counts != nil && counts.down {
			d.unbroken.trouble()
			l.servers.lost(ctx)
		}
		return counts
	}) == errRefused {
		fail(t.outcomes, errRefused)
	}
}

// send executes the calls of a trip that places names, and returns those whose script
// the server did not have. They were not executed. A script that this server has not been
// asked for yet goes out whole at once, so that a server which knows some of the scripts
// of a round trip from another node does not execute those before the others.
func (d *DB) send(ctx context.Context, l *link, t *trip, calls []Call, places []int, whole bool) (unknown []int) {
	pipe := t.server.client.Pipeline()
	cmds := make([]*redis.Cmd, len(places))
	for n, place := range places {
		c := &calls[t.which[place]]
		argv := make([]any, 0, 3+len(c.Keys)+len(c.Args))
		if _, known := t.server.known.Load(c.Script); whole || !known {
			argv = append(argv, "eval", c.Script.text, len(c.Keys))
		} else {
			argv = append(argv, "evalsha", c.Script.sha, len(c.Keys))
		}
		for k := range c.Keys {
			argv = append(argv, &c.Keys[k]) // a pointer is no allocation
		}
		cmds[n] = redis.NewCmd(ctx, append(argv, c.Args...)...)
		if t.asking {
			_ = pipe.Process(ctx, redis.NewStatusCmd(ctx, "asking"))
		}
		_ = pipe.Process(ctx, cmds[n])
	}
	wait := l.waitFor(ctx, pipe, t, calls, places)
	// Exec returns the first error of all; each command has its own.
	_, overall := pipe.Exec(ctx)
	now := time.Now()
	for n, place := range places {
		c := &calls[t.which[place]]
		err := cmds[n].Err()
		if err == nil && cmds[n].Val() == nil && overall != nil {
			err = overall // the command was never sent
		}
		if err != nil {
			t.outcomes[place] = outcome{err: classify(err)}
			if noScript(err) {
				unknown = append(unknown, place)
			}
			continue
		}
		t.server.known.Store(c.Script, struct{}{})
		values, ok := cmds[n].Val().([]any)
		if !ok {
			t.outcomes[place] = outcome{err: &callError{text: "Redis answered without an array", unknown: true}}
			continue
		}
		t.outcomes[place] = d.read(c.Script, values, now)
		if c.Durable && wait != nil && !met(wait) {
			d.undurable.Add(1)
			t.outcomes[place] = outcome{err: &callError{text: "it is not as durable as it must be", unknown: true}}
		}
	}
	return unknown
}

// read takes the clock out of the reply of a clock script.
func (d *DB) read(s *Script, values []any, now time.Time) outcome {
	if !s.timed {
		return outcome{values: values}
	}
	if last := len(values) - 1; last >= 0 {
		if text, ok := values[last].(string); ok {
			if at, epoch, ok := parseClock(text); ok {
				d.unbroken.reading(at, d.clock.saw(at, epoch, now))
				return outcome{values: values[:last], at: at}
			}
		}
	}
	return outcome{err: &callError{text: "Redis answered without its clock", unknown: true}}
}

// verdict is what a breaker is to count: an error that is down if the server did
// not serve some call, an error that is not down if the caller went away, and
// nil if Redis answered, whatever it answered.
func verdict(ctx context.Context, outcomes []outcome) *callError {
	var left *callError
	for i := range outcomes {
		o := &outcomes[i]
		if o.err == nil {
			continue
		}
		if o.err.unknown && ctx.Err() != nil {
			left = &callError{text: "the caller left", unknown: true}
			o.err = left
		} else if o.err.down {
			return o.err
		}
	}
	return left
}

func fail(outcomes []outcome, err *callError) {
	for i := range outcomes {
		outcomes[i].err = err
	}
}

// refusal is the error of a call that failed with e.
func (d *DB) refusal(e *callError) error {
	if d.closed.Load() && !e.unknown {
		return &run.RefusedError{Reason: run.ErrClosed, Part: "redis", Err: e}
	}
	var after time.Duration
	if e == errRefused {
		after = d.cfg.BreakerPause
	}
	return unavailable(e, after)
}

// Unreadable is the error of a call that was answered in a form that its sender
// does not know: nobody can say what it did.
func Unreadable() error {
	return unavailable(&callError{text: "Redis answered in another form", unknown: true}, 0)
}
