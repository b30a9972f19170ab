package live

import (
	"cmp"
	"fmt"

	"github.com/e0ff5a15/mollifier/drain"
)

// event is something that happened on this node, or that it noticed.
type event struct {
	At    int64  `json:"at"`    // ms since 1970
	Level string `json:"level"` // calm, storm or trouble
	Text  string `json:"text"`
	// What became of a run: alias, failed or unreadable; absent where it is about none.
	What string `json:"what,omitempty"`
	// What to look up: a run, and the run that it is another name of.
	Run       string `json:"run,omitempty"`
	Canonical string `json:"canonical,omitempty"`
}

// namedAtOnce is how many environments, and nodes, are named in one second; the
// others are counted.
const namedAtOnce = 10

func (r *Recorder) note(level, text string) {
	r.events.add(event{At: r.Now().UnixMilli(), Level: level, Text: text})
}

// happened takes down what is not as it was before.
func (r *Recorder) happened(before state, odd []drain.Recent) {
	now := &r.latest
	turned := func(was, is bool, off, on string) {
		switch {
		case was && !is:
			r.note(trouble, off)
		case !was && is:
			r.note(calm, on)
		}
	}
	turned(before.Redis, now.Redis, "Redis does not answer.", "Redis answers again.")
	turned(before.Postgres.Available, now.Postgres.Available, "Postgres does not answer.", "Postgres answers again.")
	turned(!before.Drain.Paused, !now.Drain.Paused, "The drain of this node pauses.", "The drain of this node goes on.")
	switch {
	case now.Pressure != before.Pressure && now.Pressure != "":
		r.note(trouble, "Postgres is in trouble: "+now.Pressure+". Every environment is mollified.")
	case now.Pressure != before.Pressure:
		r.note(calm, "Postgres is out of trouble.")
	}
	r.tripped(before.Environments, now.Environments, storm, "")
	r.tripped(now.Environments, before.Environments, calm, "storms no more")
	for _, o := range odd {
		r.events.add(r.eventOf(o))
	}
}

// tripped tells of the environments that are only in the second list; of each what
// is said, or what its storm does.
func (r *Recorder) tripped(first, second []environment, level, said string) {
	known := make(map[string]bool, len(first))
	for _, e := range first {
		known[e.ID] = true
	}
	named, more := 0, 0
	for i := range second {
		switch e := &second[i]; {
		case known[e.ID]:
		case named == namedAtOnce:
			more++
		default:
			named++
			r.note(level, e.called()+" "+cmp.Or(said, e.storms())+".")
		}
	}
	if more > 0 {
		r.note(level, fmt.Sprintf("%d more environments: the same.", more))
	}
}

func (r *Recorder) eventOf(o drain.Recent) event {
	e := event{At: o.At.UnixMilli(), Level: trouble, Run: o.Run.String()}
	name, _ := r.Environment(o.Environment)
	where := cmp.Or(name, o.Environment)
	switch o.What {
	case drain.OddAlias:
		e.What = "alias"
		e.Level, e.Canonical = storm, o.Canonical.String()
		e.Text = "A buffered run of " + where + " became an alias: its key had another run."
	case drain.OddFailed:
		e.What = "failed"
		e.Text = "A buffered run of " + where + " was refused by Postgres and has failed."
	case drain.OddUnreadable:
		e.What = "unreadable"
		e.Text = "A buffered run of " + where + " can not be read by this version, and was put aside."
	}
	return e
}

// nodesChanged tells of nodes that came or are gone.
func (r *Recorder) nodesChanged(heard []peer) {
	r.nodes(r.others, heard, calm, "Node %s is here.")
	r.nodes(heard, r.others, storm, "Node %s is gone.")
}

func (r *Recorder) nodes(first, second []peer, level, format string) {
	known := make(map[string]bool, len(first))
	for _, p := range first {
		known[p.ID] = true
	}
	told := 0
	for _, p := range second {
		if !known[p.ID] && told < namedAtOnce {
			told++
			r.note(level, fmt.Sprintf(format, p.Name))
		}
	}
}
