package claim

import (
	"context"

	"github.com/e0ff5a15/mollifier/redisdb"
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
// carry an error for which [redisdb.OutcomeUnknown] may hold. Do never waits longer
// than the configured deadline, and not at all while the breaker is open.
func (s *Store) Do(ctx context.Context, ops []Op) []Reply {
	if len(ops) == 0 {
		return nil
	}
	replies := make([]Reply, len(ops))
	plans := s.plan(ops, replies, s.db.Cluster())
	calls := make([]redisdb.Call, len(plans))
	for i, p := range plans {
		calls[i] = p.Call
	}
	for i, result := range s.db.Run(ctx, calls) {
		p := plans[i]
		answers, ok := result.Strings(len(p.items))
		for at, item := range p.items {
			switch {
			case result.Err != nil:
				replies[item].Err = result.Err
			case !ok:
				replies[item].Err = redisdb.Unreadable()
			default:
				r := parseReply(p.verb, answers[at])
				r.Queued = r.Queued && s.db.Unbroken(r.AcceptedAt)
				replies[item] = r
			}
		}
	}
	return replies
}

// plan is one script call: what to run on which keys, for which ops.
type plan struct {
	redisdb.Call
	verb  Verb
	items []int // which ops it carries, by key
	seen  map[run.Hash]struct{}
}

// plan packs ops into script calls, and answers those that can not be packed.
// On Cluster a call stays within a partition, which is one slot. No call holds
// a key twice: the scripts read all keys before they write any.
func (s *Store) plan(ops []Op, replies []Reply, cluster bool) []*plan {
	var plans []*plan
	for _, verb := range order {
		var filling map[int]*plan // the call that takes more keys, by partition
		for i := range ops {
			op := &ops[i]
			if op.Verb != verb {
				continue
			}
			if err := op.check(s.db.Partitions()); err != nil {
				replies[i].Err = err
				continue
			}
			group := 0
			if cluster {
				group = op.Partition
			}
			c := filling[group]
			if c != nil {
				if _, twice := c.seen[op.Hash]; twice || len(c.Keys) == maxKeys {
					c = nil
				}
			}
			if c == nil {
				c = s.newPlan(verb)
				plans = append(plans, c)
				if filling == nil {
					filling = make(map[int]*plan)
				}
				filling[group] = c
			}
			s.add(c, op, i)
		}
	}
	for i := range ops {
		if op := &ops[i]; op.Verb < Claim || op.Verb > Renew {
			replies[i].Err = op.check(s.db.Partitions())
		}
	}
	return plans
}

func (s *Store) newPlan(verb Verb) *plan {
	c := &plan{verb: verb, Call: redisdb.Call{Script: verbScripts[verb]}, seen: make(map[run.Hash]struct{})}
	switch verb {
	case Claim, Renew:
		c.Args = append(c.Args, s.ttl.Microseconds(), (life + s.ttl).Milliseconds())
	case Publish, Release:
		c.Args = append(c.Args, life.Milliseconds(), s.names.Wake())
	}
	return c
}

func (s *Store) add(c *plan, op *Op, item int) {
	c.seen[op.Hash] = struct{}{}
	c.items = append(c.items, item)
	c.Keys = append(c.Keys, s.names.Record(op.Partition, op.Hash))
	c.Args = append(c.Args, op.Token.append(make([]byte, 0, 22)))
	switch c.verb {
	case Claim:
		anew := ""
		if op.Anew {
			anew = "1"
		}
		c.Args = append(c.Args, op.Observed.String(), int64(op.Floor), anew)
	case Publish:
		found := "0"
		if op.Found {
			found = "1"
		}
		c.Args = append(c.Args, appendResolved(make([]byte, 0, 160), op), found)
	}
}
