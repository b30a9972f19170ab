package claim

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/run"
)

// maxKeys is the most keys of one script call. Redis serves nobody else while
// a script runs; a bigger batch becomes several calls of one pipeline.
const maxKeys = 256

// order is the order of the verbs within a batch: what frees or fills a key
// goes before what asks for it.
var order = [...]Verb{Publish, Release, Renew, Claim}

// Do carries out ops in one round trip and answers each in its place.
// Publishes, releases and renewals are executed before claims; two ops of one
// verb on one key in the order given. Every op is atomic by itself, the batch
// is not. Repeating a batch with the same tokens gives the same answers, if
// nobody else touched the keys.
//
// An op that can not be executed carries its error and fails no other. When
// Redis gives no answer within the deadline, or ctx ends, the ops concerned
// carry an error for which [OutcomeUnknown] may hold. Do never waits longer
// than the configured deadline, and not at all while the breaker is open.
func (s *Store) Do(ctx context.Context, ops []Op) []Reply {
	if len(ops) == 0 {
		return nil
	}
	replies := make([]Reply, len(ops))
	l := s.link.Load()
	calls := s.plan(ops, replies, l != nil && l.caps.Cluster)
	s.run(ctx, l, calls)
	for _, c := range calls {
		for i, item := range c.items {
			if c.err != nil {
				replies[item] = Reply{Err: s.refusal(c.err)}
			} else {
				replies[item] = parseReply(c.verb, c.answers[i])
			}
		}
	}
	return replies
}

// call is one script call: what to run on which keys, and what came of it.
type call struct {
	verb   Verb
	script script
	keys   []string
	args   []any
	items  []int // which ops it carries, by key; nil for Reset and Clock

	seen    map[run.Hash]struct{}
	answers []string // as many as keys, if err is nil
	err     *callError
}

// plan packs ops into script calls, and answers those that can not be packed.
// On Cluster a call stays within a partition, which is one slot. No call holds
// a key twice: the scripts read all keys before they write any.
func (s *Store) plan(ops []Op, replies []Reply, cluster bool) []*call {
	var calls []*call
	for _, verb := range order {
		var filling map[int]*call // the call that takes more keys, by partition
		for i := range ops {
			op := &ops[i]
			if op.Verb != verb {
				continue
			}
			if err := op.check(s.cfg.Partitions); err != nil {
				replies[i].Err = err
				continue
			}
			group := 0
			if cluster {
				group = op.Partition
			}
			c := filling[group]
			if c != nil {
				if _, twice := c.seen[op.Hash]; twice || len(c.keys) == maxKeys {
					c = nil
				}
			}
			if c == nil {
				c = s.newCall(verb)
				calls = append(calls, c)
				if filling == nil {
					filling = make(map[int]*call)
				}
				filling[group] = c
			}
			s.add(c, op, i)
		}
	}
	for i := range ops {
		if op := &ops[i]; op.Verb < Claim || op.Verb > Renew {
			replies[i].Err = op.check(s.cfg.Partitions)
		}
	}
	return calls
}

func (s *Store) newCall(verb Verb) *call {
	c := &call{verb: verb, script: verbScripts[verb], seen: make(map[run.Hash]struct{})}
	switch verb {
	case Claim, Renew:
		c.args = append(c.args, s.cfg.TTL.Microseconds(), (life + s.cfg.TTL).Milliseconds())
	case Publish, Release:
		c.args = append(c.args, life.Milliseconds(), s.names.wake())
	}
	return c
}

func (s *Store) add(c *call, op *Op, item int) {
	c.seen[op.Hash] = struct{}{}
	c.items = append(c.items, item)
	c.keys = append(c.keys, s.names.record(op.Partition, op.Hash))
	c.args = append(c.args, op.Token.append(make([]byte, 0, 22)))
	switch c.verb {
	case Claim:
		c.args = append(c.args, op.Observed.String())
	case Publish:
		found := "0"
		if op.Found {
			found = "1"
		}
		c.args = append(c.args, appendResolved(make([]byte, 0, 160), op), found)
	}
}

// run sends the calls in one pipeline, behind the breaker, and sets answers or
// err of each.
func (s *Store) run(ctx context.Context, l *link, calls []*call) {
	if len(calls) == 0 {
		return
	}
	if l == nil {
		fail(calls, &callError{text: "the store is not open"})
		return
	}
	err := s.breaker.do(func() *callError {
		within, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
		defer cancel()
		if again := send(within, l.client, calls, false); len(again) > 0 {
			send(within, l.client, again, true)
		}
		return verdict(ctx, calls)
	})
	if err == errRefused {
		fail(calls, errRefused)
	}
}

// send executes the calls and returns those whose script the server did not
// have: after a restart, a failover or SCRIPT FLUSH. They were not executed.
func send(ctx context.Context, client redis.UniversalClient, calls []*call, whole bool) (unknown []*call) {
	pipe := client.Pipeline()
	cmds := make([]*redis.StringSliceCmd, len(calls))
	for i, c := range calls {
		argv := make([]any, 0, 3+len(c.keys)+len(c.args))
		if whole {
			argv = append(argv, "eval", c.script.text, len(c.keys))
		} else {
			argv = append(argv, "evalsha", c.script.sha, len(c.keys))
		}
		for _, key := range c.keys {
			argv = append(argv, key)
		}
		cmds[i] = redis.NewStringSliceCmd(ctx, append(argv, c.args...)...)
		_ = pipe.Process(ctx, cmds[i])
	}
	// Exec returns the first error of all; each command has its own.
	_, overall := pipe.Exec(ctx)
	for i, c := range calls {
		err := cmds[i].Err()
		c.answers, c.err = cmds[i].Val(), nil
		switch {
		case err == nil && len(c.answers) == len(c.keys):
		case err != nil && noScript(err):
			c.err = classify(err)
			unknown = append(unknown, c)
		case err != nil:
			c.err = classify(err)
		case overall != nil:
			c.err = classify(overall)
		default:
			c.err = &callError{text: "Redis answered with the wrong number of elements", unknown: true}
		}
	}
	return unknown
}

// verdict is what the breaker is to count: an error that is down if Redis did
// not serve some call, an error that is not down if the caller went away, and
// nil if Redis answered, whatever it answered.
func verdict(ctx context.Context, calls []*call) *callError {
	var left *callError
	for _, c := range calls {
		if c.err == nil {
			continue
		}
		if c.err.unknown && ctx.Err() != nil {
			left = &callError{text: "the caller left", unknown: true}
			c.err = left
		} else if c.err.down {
			return c.err
		}
	}
	return left
}

func fail(calls []*call, err *callError) {
	for _, c := range calls {
		c.err = err
	}
}

// refusal is the error of the items whose call failed with e.
func (s *Store) refusal(e *callError) error {
	var after time.Duration
	if e == errRefused {
		after = s.breaker.pause
	}
	return unavailable(e, after)
}
