package drain

import (
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Observer is told what the drain does, once a transaction. It is called by several
// goroutines at once, before the entries are acknowledged, and returns at once.
type Observer interface {
	// Transaction is one that Postgres answered or failed: how many entries it had,
	// and those whose row is there. A transaction that is repeated tells them again.
	Transaction(began, ended time.Time, entries int, landed []Landed)
}

// Landed is a run that came from the buffer and is in Postgres.
type Landed struct {
	Snapshot  *run.Snapshot // not to be changed, nor kept
	Canonical run.ID
	Aliased   bool          // its key had another run, Canonical
	Dwell     time.Duration // from its acceptance to its lease, by Redis's clock
	Worked    time.Duration // since its lease, by this node's
}

func (d *Drainer) tell(began time.Time, entries int, written []acking) {
	if d.cfg.Observer == nil {
		return
	}
	now := time.Now()
	landed := make([]Landed, len(written))
	for i := range written {
		e, row := written[i].entry, &written[i].row
		landed[i] = Landed{
			Snapshot: &e.snapshot, Canonical: row.Canonical, Aliased: row.Outcome == runstore.Aliased,
			Dwell: e.dwell, Worked: now.Sub(e.leased),
		}
	}
	d.cfg.Observer.Transaction(began, now, entries, landed)
}
