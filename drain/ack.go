package drain

import (
	"log/slog"
	"time"

	"github.com/e0ff5a15/mollifier/runstore"
)

// acking is an entry whose row is written, and what Postgres said of it.
type acking struct {
	entry Entry
	row   runstore.Materialised
}

// dirtyRounds bounds how often changes are run after that come faster than they
// can be applied. The next lease goes on with it.
const dirtyRounds = 16

// ack marks entries as materialised. Those that have changed meanwhile get their
// changes into Postgres first, and are asked about again.
func (d *Drainer) ack(environment string, pending []acking) {
	for round := 0; len(pending) > 0; round++ {
		dirty := d.acknowledge(environment, pending)
		if len(dirty) == 0 {
			return
		}
		d.count.dirty.Add(int64(len(dirty)))
		entries := make([]Entry, len(dirty))
		items := make([]runstore.Materialisation, len(dirty))
		for i := range dirty {
			entries[i] = dirty[i].entry
			items[i] = materialisation(&entries[i])
		}
		if round == dirtyRounds {
			d.giveBack(entries, 0, false)
			return
		}
		began := time.Now()
		pending = pending[:0:0]
		for i, r := range d.materialise(items) {
			switch {
			case r.Err == nil:
				pending = append(pending, acking{entries[i], r})
			case poisonous(r.Err):
				d.refused(entries[i])
			default:
				d.outage(r.Err, began)
				d.giveBack(entries[i:i+1], 0, false)
			}
		}
	}
}

// acknowledge says what is materialised until Redis has heard it, and returns
// the entries that have changed, with their changes. What Redis does not hear
// for long is left to its lease: the rows are there, and settle as a replay.
func (d *Drainer) acknowledge(environment string, pending []acking) (dirty []acking) {
	began := time.Now()
	for {
		done := make([]Done, len(pending))
		for i := range pending {
			done[i] = Done{pending[i].entry.Ref, pending[i].entry.Ver, pending[i].row.Canonical}
		}
		ctx, cancel := d.lastWord()
		answers := d.buffer.Ack(ctx, done)
		cancel()
		var unheard []acking
		var trouble error
		marked := 0
		for i, a := range answers {
			p := pending[i]
			switch {
			case a.Err != nil:
				unheard, trouble = append(unheard, p), a.Err
			case a.Dirty:
				p.entry.Patches, p.entry.Ver = a.Patches, a.Ver
				dirty = append(dirty, p)
			default:
				marked++
				d.held.drop(p.entry.Token, p.entry.ID)
				d.marked(&p)
			}
		}
		d.rates.left(environment, marked, time.Now())
		if len(unheard) == 0 {
			d.redis.served()
			return dirty
		}
		pause := d.redisFailed("acknowledge", trouble)
		if time.Since(began)+pause > d.cfg.Lease/3 || d.work.Err() != nil {
			return dirty
		}
		d.sleep(d.work, pause, nil)
		pending = unheard
	}
}

func (d *Drainer) marked(p *acking) {
	d.count.materialised.Add(1)
	if p.row.Outcome != runstore.Aliased {
		return
	}
	d.count.aliased.Add(1)
	if d.words.left() {
		d.log.Warn("a buffered run became an alias: its key had another run",
			slog.String("run", p.entry.ID.String()), slog.String("canonical", p.row.Canonical.String()),
			slog.String("environment", p.entry.Environment), slog.String("organisation", p.entry.Organisation))
	}
}
