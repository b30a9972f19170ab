package drain

import (
	"cmp"
	"slices"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// head is what one environment has waiting in one partition.
type head struct {
	partition                 int
	organisation, environment string
	depth                     int // entries that wait; those that are leased are not among them
	oldest                    run.Instant
}

// headsOf are the queues that have something waiting, of environments that are not
// paused.
func headsOf(found []buffer.Partition, paused func(environment string) bool) (heads []head) {
	for i := range found {
		for _, h := range found[i].Heads {
			if h.Depth > 0 && !paused(h.Environment) {
				heads = append(heads, head{found[i].Partition, h.Organisation, h.Environment, h.Depth, h.AcceptedAt})
			}
		}
	}
	return heads
}

// part is what a turn takes from one partition.
type part struct{ partition, n int }

// turn is one batch of one environment.
type turn struct {
	organisation, environment string
	parts                     []part
}

// entries is how many a turn takes at most.
func (t *turn) entries() (n int) {
	for _, p := range t.parts {
		n += p.n
	}
	return n
}

// rotation gives turns: organisations one after the other, and their
// environments one after the other. It remembers by name who had the last one,
// so that it does not matter who comes or goes in between.
type rotation struct {
	orgs    []string // those with something waiting, sorted
	waiting map[string]*tenant
	lastOrg string
	lastEnv map[string]string // by organisation
}

// tenant is what an organisation has waiting.
type tenant struct {
	envs  []string // sorted
	heads map[string][]head
}

// remembered bounds the cursors of organisations that have nothing waiting.
const remembered = 10_000

// load replaces what waits. The cursors stay.
func (r *rotation) load(heads []head) {
	r.orgs, r.waiting = nil, make(map[string]*tenant)
	for _, h := range heads {
		t := r.waiting[h.organisation]
		if t == nil {
			t = &tenant{heads: make(map[string][]head)}
			r.waiting[h.organisation] = t
			r.orgs = append(r.orgs, h.organisation)
		}
		if _, known := t.heads[h.environment]; !known {
			t.envs = append(t.envs, h.environment)
		}
		t.heads[h.environment] = append(t.heads[h.environment], h)
	}
	slices.Sort(r.orgs)
	for _, t := range r.waiting {
		slices.Sort(t.envs)
		for _, hs := range t.heads {
			slices.SortFunc(hs, func(a, b head) int {
				return cmp.Or(cmp.Compare(a.oldest, b.oldest), cmp.Compare(a.partition, b.partition))
			})
		}
	}
	if r.lastEnv == nil || len(r.lastEnv) > remembered+len(r.orgs) {
		r.lastEnv = make(map[string]string)
	}
}

// empty reports whether nothing is left to give a turn for.
func (r *rotation) empty() bool { return len(r.orgs) == 0 }

// next gives the next turn, of at most size(environment) entries, and takes
// them out of what waits.
func (r *rotation) next(size func(environment string) int) (turn, bool) {
	if r.empty() {
		return turn{}, false
	}
	org := after(r.orgs, r.lastOrg)
	t := r.waiting[org]
	env := after(t.envs, r.lastEnv[org])
	r.lastOrg, r.lastEnv[org] = org, env

	out := turn{organisation: org, environment: env}
	heads, left := t.heads[env], max(1, size(env))
	for len(heads) > 0 && left > 0 {
		h := heads[0]
		heads = heads[1:]
		n := min(h.depth, left)
		left -= n
		out.parts = append(out.parts, part{h.partition, n})
		if h.depth -= n; h.depth > 0 {
			heads = append(heads, h) // its head is a younger one now
		}
	}
	if t.heads[env] = heads; len(heads) == 0 {
		delete(t.heads, env)
		if t.envs = without(t.envs, env); len(t.envs) == 0 {
			delete(r.waiting, org)
			r.orgs = without(r.orgs, org)
		}
	}
	return out, true
}

// after returns the first name that comes after last, or else the first.
func after(sorted []string, last string) string {
	i, found := slices.BinarySearch(sorted, last)
	if found {
		i++
	}
	return sorted[i%len(sorted)]
}

func without(sorted []string, name string) []string {
	if i, found := slices.BinarySearch(sorted, name); found {
		return slices.Delete(sorted, i, i+1)
	}
	return sorted
}
