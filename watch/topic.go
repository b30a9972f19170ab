package watch

import (
	"slices"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// MaxMembers is the most runs of a set that are followed: its newest.
const MaxMembers = 1000

// Subject says which runs of an environment are followed: one run, by any of its
// ids; or the runs of a batch; or those that have all of some tags and were made
// since an instant. Exactly one of Run, Batch and Tags is set.
type Subject struct {
	Environment string
	Run         run.ID
	Batch       string
	Tags        []string
	Since       time.Time // with Tags: none older; zero for no bound
}

// one reports whether it is a single run.
func (s *Subject) one() bool { return !s.Run.IsZero() }

// key is equal for subjects that are followed by the same looks.
func (s *Subject) key() string {
	tags := slices.Sorted(slices.Values(s.Tags))
	return strings.Join(append([]string{s.Environment, s.Run.String(), s.Batch, s.Since.UTC().Format(time.RFC3339Nano)}, tags...), "\x00")
}

// has reports whether a run belongs to a set by tags, of which the stores were
// asked for the first.
func (s *Subject) has(r *run.Run) bool {
	for _, tag := range s.Tags {
		if !slices.Contains(r.Trigger.Tags, tag) {
			return false
		}
	}
	return true
}

// topic is what all polls of one subject share. Its fields are guarded by the
// hub's lock; members is replaced whole and never changed.
type topic struct {
	subject Subject
	polls   int
	idle    time.Time // when the last poll left; while there is one, zero
	due     time.Time // of a set: when it is to be looked at again
	looked  bool
	members []Member
	changed chan struct{} // closed when members are replaced
}

// see takes in what a look found.
func (t *topic) see(members []Member) {
	if t.looked && slices.Equal(t.members, members) {
		return
	}
	t.looked, t.members = true, members
	close(t.changed)
	t.changed = make(chan struct{})
}
