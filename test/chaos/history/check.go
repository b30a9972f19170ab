package history

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Violation is a promise that did not hold.
type Violation struct{ Kind, Text string }

func (v Violation) String() string { return v.Kind + ": " + v.Text }

// Window is a time in which errors are excused.
type Window struct{ From, To int64 }

// Verdict is what a run came to.
type Verdict struct {
	Violations []Violation
	Ops        int
	Acked      int // distinct ids that were acknowledged
	Lost       int // of them not there at the end, though a fault excused it
	Aliases    int
	Reads      int // by id, of ids that had been acknowledged
	Stale      int // runs that a node showed as QUEUED again while it may not have reached Postgres
	Executed   int // runs handed to a worker
	Errors5xx  map[string]int
	Outside    int           // of them outside the faults' windows
	Refusal    time.Duration // the time that 99 of 100 refusals took, from a second and a half after the fault's begin to its end
}

// Judge holds a history against the state at its end. faults are when harm was done,
// excuses when errors are put down to something else than the program: the faults, and
// stalls of the machine. within bounds the search of each key.
func Judge(ops []Op, end *End, faults, excuses []Window, grace, claimGrace time.Duration, within time.Duration,
	draw func(string, porcupine.Model, porcupine.LinearizationInfo),
) Verdict {
	v := Verdict{Ops: len(ops), Errors5xx: map[string]int{}}
	acked := ackedIDs(ops)
	v.Acked = len(acked)
	v.checkSet(acked, end)
	v.checkReads(ops, acked, end, faults)
	v.checkChanges(ops, end)
	v.checkExecutions(ops, end)
	v.checkErrors(ops, faults, excuses, int64(grace), int64(claimGrace))
	v.Violations = append(v.Violations, checkKeys(ops, end, within, draw)...)
	return v
}

func (v *Verdict) found(kind, format string, args ...any) {
	v.Violations = append(v.Violations, Violation{kind, fmt.Sprintf(format, args...)})
}

// ackedIDs are the ids that triggers were answered, with the earliest return.
func ackedIDs(ops []Op) map[string]Op {
	acked := map[string]Op{}
	for _, op := range ops {
		if op.Kind != Trigger || op.Outcome != OK {
			continue
		}
		if first, known := acked[op.Run]; !known || op.Return < first.Return {
			acked[op.Run] = op
		}
	}
	return acked
}

// checkSet: everything that was acknowledged is there, once.
func (v *Verdict) checkSet(acked map[string]Op, end *End) {
	for id, op := range acked {
		row, there := end.Rows[id]
		read, wasRead := end.Reads[id]
		switch {
		case !there && end.Loses:
			v.Lost++
			continue
		case !there:
			v.found("lost", "%s, acknowledged to operation %d (%s, %s) at %.3fs", id, op.N, op.State, op.Identity, seconds(op.Return))
			continue
		case wasRead && read.HTTP != 200:
			v.found("lost", "%s is in Postgres, and GET answers %d", id, read.HTTP)
		case wasRead && read.Canonical != end.Canonical(id):
			v.found("identity", "%s resolves to %s by GET and to %s in Postgres", id, read.Canonical, end.Canonical(id))
		}
		if row.Kind == 1 {
			v.Aliases++
		}
	}
	byToken := map[string][]string{}
	for id, row := range end.Rows {
		if row.Kind == 0 && row.Token != "" {
			byToken[row.Token] = append(byToken[row.Token], id)
		}
	}
	for token, ids := range byToken {
		if len(ids) > 1 {
			slices.Sort(ids)
			v.found("duplicate", "trigger %s made %s", token, strings.Join(ids, " and "))
		}
	}
	if end.Overlaps > 0 {
		v.found("overlap", "%d pairs of runs hold one key at a time", end.Overlaps)
	}
	if end.BadAlias > 0 {
		v.found("alias", "%d aliases of what is no run", end.BadAlias)
	}
}

// putBack is how long after a fault a run that Redis lost may be nowhere: a breaker's
// pause, a beat, a look.
const putBack = 4 * time.Second

// rank orders what a run's status may become.
func rank(status string) int {
	switch status {
	case "PENDING_VERSION", "DELAYED", "QUEUED":
		return 0
	case "DEQUEUED", "EXECUTING", "WAITING":
		return 1
	}
	return 2
}

// checkReads: an acknowledged run is found by everybody from then on, and its
// status never goes back.
func (v *Verdict) checkReads(ops []Op, acked map[string]Op, end *End, faults []Window) {
	type seen struct {
		call, ret int64
		rank      int
		n         int64
	}
	byRun := map[string][]seen{}
	for _, op := range ops {
		if op.Kind == Foreign && op.HTTP != 0 && op.HTTP != 404 && op.HTTP < 500 {
			v.found("isolation", "operation %d got %d for a run of another environment", op.N, op.HTTP)
		}
		if op.Kind != Get {
			continue
		}
		ack, known := acked[op.Run]
		if !known || ack.Return > op.Call {
			continue
		}
		v.Reads++
		_, there := end.Rows[op.Run]
		// What Redis lost is nowhere until it is put back, or a drainer that has it writes its row.
		between := slices.ContainsFunc(faults, func(w Window) bool { return op.Return >= w.From && op.Call <= w.To+int64(putBack) })
		if op.HTTP == 404 && !(end.Loses && !there) && !(end.Empties && between) {
			v.found("invisible", "%s, acknowledged at %.6fs, is 404 at %.6fs (operation %d, %s; acknowledged by %s)",
				op.Run, seconds(ack.Return), seconds(op.Call), op.N, op.Node, ack.Node)
		}
		if op.Outcome == OK {
			byRun[op.Run] = append(byRun[op.Run], seen{op.Call, op.Return, rank(op.Status), op.N})
		}
	}
	for id, reads := range byRun {
		// In the order of their returns; a later one that was called after it must
		// not show less.
		sort.Slice(reads, func(i, j int) bool { return reads[i].ret < reads[j].ret })
		byCall := slices.Clone(reads)
		sort.Slice(byCall, func(i, j int) bool { return byCall[i].call < byCall[j].call })
		highest, i := seen{rank: -1}, 0
		for _, r := range byCall {
			for i < len(reads) && reads[i].ret < r.call {
				if reads[i].rank > highest.rank {
					highest = reads[i]
				}
				i++
			}
			switch {
			case r.rank >= highest.rank || end.Empties:
			case r.rank == 0 && end.Hides && slices.ContainsFunc(faults, func(w Window) bool { return r.ret >= w.From && r.call <= w.To+int64(time.Second) }):
				v.Stale++
			default:
				v.found("backwards", "%s is shown with less in operation %d than in operation %d before it", id, r.n, highest.n)
			}
		}
	}
}

// checkChanges: no change that was answered is lost, and none is done twice.
func (v *Verdict) checkChanges(ops []Op, end *End) {
	type bumps struct{ sure, perhaps int }
	counted := map[string]*bumps{}
	for _, op := range ops {
		id := end.Canonical(op.Run)
		row, there := end.Rows[id]
		if !there || op.Outcome == No {
			continue
		}
		switch op.Kind {
		case Cancel:
			if op.Outcome == OK && rank(end.Rows[op.Run].Status) < 2 && rank(row.Status) < 2 && !end.Loses {
				v.found("change", "%s was cancelled by operation %d and is %s", op.Run, op.N, row.Status)
			}
		case Tag:
			if op.Outcome == OK && !slices.Contains(row.Tags, op.Arg) && !end.Loses {
				v.found("change", "%s lacks the tag of operation %d", op.Run, op.N)
			}
		case Bump:
			b := counted[id]
			if b == nil {
				b = &bumps{}
				counted[id] = b
			}
			if op.Outcome == OK {
				b.sure++
			} else {
				b.perhaps++
			}
		}
	}
	for id, b := range counted {
		have := end.Rows[id].Bumps
		if (have < b.sure && !end.Empties && !end.merged(id)) || have > b.sure+b.perhaps {
			v.found("change", "the counter of %s is %d after %d additions, and %d more of unknown outcome", id, have, b.sure, b.perhaps)
		}
	}
}

// merged reports whether other ids became aliases of a run: the metadata of one of
// them then stands for all.
func (e *End) merged(id string) bool {
	for _, row := range e.Rows {
		if row.AliasOf == id {
			return true
		}
	}
	return false
}

// checkExecutions: each run is handed out once, under its own id.
func (v *Verdict) checkExecutions(ops []Op, end *End) {
	taken := map[string]int64{}
	for _, op := range ops {
		if op.Kind != Take {
			continue
		}
		for _, id := range op.Runs {
			v.Executed++
			if before, twice := taken[id]; twice {
				v.found("execution", "%s was handed out by operations %d and %d", id, before, op.N)
			}
			taken[id] = op.N
			if row, there := end.Rows[id]; there && row.Kind != 0 {
				v.found("execution", "%s was handed out (operation %d) and is an alias", id, op.N)
			}
		}
	}
	cached := map[string]int64{}
	for _, op := range ops {
		if op.Kind != Trigger || op.Outcome != OK || op.Cached || op.Key == "" {
			continue
		}
		if before, twice := cached[op.Run]; twice {
			v.found("identity", "%s was new to operations %d and %d", op.Run, before, op.N)
		}
		cached[op.Run] = op.N
	}
}

// checkErrors: a 5xx has a fault to blame, and a 500 has no excuse.
func (v *Verdict) checkErrors(ops []Op, faults, excuses []Window, grace, claimGrace int64) {
	outside := map[string]int{}
	var refusals []int64
	example := map[string]Op{}
	for _, op := range ops {
		if op.HTTP < 500 {
			continue
		}
		name := fmt.Sprintf("%d %s", op.HTTP, op.Problem)
		v.Errors5xx[name]++
		if slices.ContainsFunc(faults, func(w Window) bool { return op.Call >= w.From+int64(1500*time.Millisecond) && op.Return <= w.To }) {
			refusals = append(refusals, op.Return-op.Call)
		}
		if op.HTTP == 500 {
			v.found("500", "operation %d (%s at %s, %.3fs)", op.N, op.Kind, op.Node, seconds(op.Call))
			continue
		}
		late := grace
		if op.Problem == "claim-timeout" {
			late = claimGrace
		}
		excused := slices.ContainsFunc(excuses, func(w Window) bool { return op.Return >= w.From && op.Call <= w.To+late })
		if !excused {
			v.Outside++
			outside[name]++
			example[name] = op
		}
	}
	if len(refusals) > 0 {
		slices.Sort(refusals)
		v.Refusal = time.Duration(refusals[len(refusals)*99/100])
	}
	for name, n := range outside {
		op := example[name]
		v.found("5xx", "%d times %s without a fault; the last was operation %d (%s at %s, %.3fs)", n, name, op.N, op.Kind, op.Node, seconds(op.Call))
	}
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }
