package runstore

import (
	"github.com/e0ff5a15/mollifier/run"
)

// bounced is a debounced trigger whose own key is free: it pushes a run of its
// debounce key, or becomes one.
type bounced struct {
	item    *item
	at      run.Instant // its acceptance
	due     run.Instant // until when it delays a run
	outcome Outcome     // if it becomes a run
}

// window is a run of a debounce key, and the time that it is delayed for.
type window struct {
	id     run.ID
	from   run.Instant // its acceptance
	due    run.Instant // the end of its delay
	fresh  run.Instant // the acceptance of the trigger whose payload it has
	leader *bounced    // the trigger that becomes the run; nil if that has its row
	names  []*bounced  // the triggers that pushed it

	news     run.Trigger // what they brought
	trailing bool        // they brought some
}

// meets reports whether the trigger comes while the run is delayed. One that comes
// now does so until the delay ends. One that waited in a buffer came when it was
// accepted, and the run may be younger: then the two meet if the trigger's own
// delay would have lasted until the run was made.
func (w *window) meets(b *bounced, now run.Instant) bool {
	if !b.item.buffered {
		return now < w.due
	}
	return b.at <= w.due && w.from <= b.due
}

// push merges the trigger into the run. One that comes now begins the delay again,
// and has the last word; one from a buffer may be older than what has pushed the
// run since, so it makes no delay shorter and takes no newer payload's place.
func (w *window) push(b *bounced) {
	d := b.item.snapshot.Trigger.Debounce
	due := b.due
	if d.MaxDelay > 0 {
		due = min(due, w.from.Add(d.MaxDelay))
	}
	due = max(due, w.from)
	newest := true
	if b.item.buffered {
		due = max(due, w.due)
		newest = b.at > w.fresh
	}
	w.due = due
	if d.Trailing && newest {
		overlay(&w.news, &b.item.snapshot.Trigger)
		w.fresh, w.trailing = max(w.fresh, b.at), true
	}
	w.names = append(w.names, b)
}

// overlay lays over a trigger what a later one of its debounce key has: always the
// payload, the rest where the later one gives it.
func overlay(t, later *run.Trigger) {
	t.Payload, t.PayloadType, t.PayloadSize = later.Payload, later.PayloadType, later.PayloadSize
	if later.Metadata != nil {
		t.Metadata, t.MetadataType = later.Metadata, later.MetadataType
	}
	if len(later.Tags) > 0 {
		t.Tags = later.Tags
	}
	if later.Machine != "" {
		t.Machine = later.Machine
	}
	if later.MaxAttempts != 0 {
		t.MaxAttempts = later.MaxAttempts
	}
	if later.MaxDuration != 0 {
		t.MaxDuration = later.MaxDuration
	}
}

// gather brings triggers of one debounce key together, in their order: each pushes
// the first run that it meets, or becomes a run that later ones may push. standing
// is the run in the slot, or nil; it is the first of the runs that are returned.
func gather(standing *window, list []*bounced, now run.Instant) []*window {
	var all []*window
	if standing != nil {
		all = append(all, standing)
	}
next:
	for _, b := range list {
		for _, w := range all {
			if w.meets(b, now) {
				w.push(b)
				continue next
			}
		}
		all = append(all, &window{id: b.item.snapshot.ID, from: b.at, due: b.due, fresh: b.at, leader: b})
	}
	return all
}

// holder is the run of those that is to be in the slot: the one that is there while
// it is delayed, or else the one that is delayed longest; nil for none.
func holder(all []*window, now run.Instant) *window {
	var longest *window
	for _, w := range all {
		switch {
		case w.due <= now:
		case w.leader == nil:
			return w
		case longest == nil || w.due > longest.due:
			longest = w
		}
	}
	return longest
}
