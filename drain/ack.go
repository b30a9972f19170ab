package drain

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// acking is an entry whose row is written, and what Postgres said of it.
type acking struct {
	entry *entry
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
		entries := make([]entry, len(dirty)) // with their changes
		items := make([]runstore.Materialisation, len(dirty))
		for i := range dirty {
			entries[i] = *dirty[i].entry
			items[i] = entries[i].materialisation()
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
				pending = append(pending, acking{&entries[i], r})
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
	for began := time.Now(); ; {
		acks := make([]buffer.Ack, len(pending))
		for i := range pending {
			e := pending[i].entry
			acks[i] = buffer.Ack{Ref: e.Ref, Ver: e.ver, Canonical: pending[i].row.Canonical}
		}
		ctx, cancel := d.lastWord()
		answers := d.buffer.Ack(ctx, acks)
		cancel()
		var unheard []acking
		var trouble error
		marked := 0
		for i := range answers {
			a, p := &answers[i], pending[i]
			switch {
			case errors.Is(a.Err, run.ErrUnknownVersion):
				// A change that this build can not read. The buffer puts the
				// entry aside when it is leased again.
				d.log.Error("a change of a buffered run can not be read; the run is kept", d.about(p.entry)...)
			case a.Err != nil:
				unheard, trouble = append(unheard, p), a.Err
			case !a.Done():
				p.entry.patches = append(slices.Clip(p.entry.patches), a.Later...)
				p.entry.ver = a.Ver
				dirty = append(dirty, p)
			default:
				marked++
				d.held.drop(p.entry.Holding)
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
	d.recent.note(OddAlias, p.entry, p.row.Canonical)
	if p.row.AcceptedAt > p.entry.snapshot.AcceptedAt {
		d.count.overtaken.Add(1)
	}
	if d.words.left() {
		d.log.Warn("a buffered run became an alias: its key had another run",
			slog.String("run", p.entry.ID.String()), slog.String("canonical", p.row.Canonical.String()),
			slog.String("environment", p.entry.Environment), slog.String("organisation", p.entry.organisation))
	}
}
