package drain

import (
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Oddity is what became of an entry that did not simply become a run.
type Oddity string

// The oddities.
const (
	OddAlias      Oddity = "alias"      // its key had another run, which it is now a name of
	OddFailed     Oddity = "failed"     // Postgres refuses it: it became a SYSTEM_FAILURE
	OddUnreadable Oddity = "unreadable" // this build can not read it: it was put aside
)

// Recent is an entry that was no ordinary one, for people to look into.
type Recent struct {
	Seq          uint64 // of this drainer, from 1 without gaps
	At           time.Time
	What         Oddity
	Run          run.ID
	Canonical    run.ID // of an alias: the run that it stands for
	Environment  string
	Organisation string
}

// recentKept is how many are remembered. They are rare: where they are not, the
// newest tell as much as all of them.
const recentKept = 64

type recents struct {
	mu   sync.Mutex
	seq  uint64
	ring [recentKept]Recent
}

func (r *recents) note(what Oddity, e *entry, canonical run.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	r.ring[r.seq%recentKept] = Recent{
		Seq: r.seq, At: time.Now(), What: what, Run: e.ID, Canonical: canonical,
		Environment: e.Environment, Organisation: e.organisation,
	}
}

// Recent returns the oddities after the one with that number which are still
// remembered, the oldest first. Numbers that are missing were forgotten.
func (d *Drainer) Recent(after uint64) []Recent {
	r := &d.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Recent
	for seq := max(after, r.seq-min(r.seq, recentKept)) + 1; seq <= r.seq; seq++ {
		list = append(list, r.ring[seq%recentKept])
	}
	return list
}
