package history

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Epsilon is by how much an interval may outlive its time to live: what the
// stores' clocks may disagree by.
const Epsilon = 2 * time.Second

// Late is how long a request may still take effect after its caller has given up
// and everything is mended: no statement runs longer.
const Late = 5 * time.Second

// forever is the return of an operation whose effect may still come.
const forever = math.MaxInt64 / 4

// The model of one key.
//
// A state is the run that holds the key, whether that run has failed, and the runs
// that held it before and can not come back. What a trigger may be answered depends
// on the instants of its call and return and on what is known of the runs when all
// is over: when each was accepted, at the earliest and at the latest, and whether
// it was lost by a fault that may lose runs.
//
//	trigger answers the holder      if its interval may not have ended before the
//	                                call, and it has not failed, or the answer says
//	                                that Postgres was not asked (provisional)
//	trigger answers another run     if that run never held the key before, and there
//	                                is no holder, or it has failed, or its interval
//	                                may have ended by the return, or it was lost;
//	                                or the answer is provisional, and the holder a
//	                                run that has other names: it waited in the buffer
//	                                when somebody could not ask Redis, lost its key by
//	                                that, and comes back as whom it became a name of;
//	                                or the answer is provisional, and that run or the
//	                                holder was lost
//	provisional answers where both  bind nobody: what was settled without Redis and
//	stores were kept from nodes     what was accepted without Postgres know nothing of
//	                                each other
//	reset                           leaves no holder
//	                                (whether it says that there was one or not: a run
//	                                that is drained in the middle of it is cut unseen)
//	failure of the holder           marks it
//
// Operations of unknown outcome are settled by what is there at the end, before the
// model sees them: a trigger that made no run had no effect on the key; one that
// did is an answer that nobody heard. A failed run failed. Only a reset of unknown
// outcome stays open: it may have happened at any time from its call until some
// time after its return and after the fault, or never.

// fact is what is known of a run when all is over.
type fact struct {
	id     string
	lo, hi int64 // accepted between
	ttl    int64
	lost   bool // may vanish at any time
	named  bool // a run that was answered became another name of it
}

type state struct {
	holder int // index of a fact; -1: none
	failed bool
	past   string // a set of indexes, as bytes
}

type input struct {
	kind      Kind
	call, ret int64
	run       int // index of a fact
	maybe     bool
	unasked   bool
	apart     bool // and nobody may have known what the other store had
}

func (s state) replaced() state {
	if s.holder < 0 {
		return s
	}
	set := []byte(s.past)
	for len(set) <= s.holder/8 {
		set = append(set, 0)
	}
	set[s.holder/8] |= 1 << (s.holder % 8)
	return state{-1, false, string(set)}
}

func (s state) had(run int) bool {
	return run/8 < len(s.past) && s.past[run/8]&(1<<(run%8)) != 0
}

// free reports whether the key may be without a live holder at ret.
func (s state) free(facts []fact, ret int64) bool {
	if s.holder < 0 || s.failed {
		return true
	}
	f := facts[s.holder]
	return f.lost || ret >= f.lo+f.ttl
}

func step(facts []fact, s state, in input) []state {
	switch in.kind {
	case Trigger:
		if in.apart {
			bound := s
			bound.holder, bound.failed = in.run, false
			return []state{s, bound}
		}
		if in.run == s.holder {
			f := facts[in.run]
			if (s.failed && !in.unasked) || in.call > f.hi+f.ttl+int64(Epsilon) {
				return nil
			}
			return []state{s}
		}
		if s.had(in.run) {
			return nil
		}
		if s.free(facts, in.ret) {
			s = s.replaced()
		} else if h, f := facts[s.holder], facts[in.run]; !in.unasked || !h.named && !h.lost && !f.lost {
			return nil
		}
		s.holder, s.failed = in.run, false
		return []state{s}
	case Reset:
		if in.maybe {
			return []state{s, s.replaced()}
		}
		return []state{s.replaced()}
	case Finish:
		if s.holder == in.run {
			s.failed = true
		}
		return []state{s}
	}
	return nil
}

func model(facts []fact) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []interface{} { return []interface{}{state{holder: -1}} },
		Step: func(s, in, _ interface{}) []interface{} {
			var next []interface{}
			for _, n := range step(facts, s.(state), in.(input)) {
				next = append(next, n)
			}
			return next
		},
		Equal: func(a, b interface{}) bool { return a == b },
		DescribeOperation: func(in, _ interface{}) string {
			i := in.(input)
			switch {
			case i.kind == Trigger:
				return "trigger -> " + facts[i.run].id
			case i.kind == Finish:
				return facts[i.run].id + " fails"
			case i.maybe:
				return "reset -> ?"
			}
			return "reset"
		},
		DescribeState: func(s interface{}) string {
			st := s.(state)
			if st.holder < 0 {
				return "none"
			}
			return fmt.Sprintf("%s failed=%t", facts[st.holder].id, st.failed)
		},
	}
	return m.ToModel()
}

// keyHistory makes the history of one key for the model: the answers, with what is
// there at the end filled in for outcomes that nobody heard.
func keyHistory(ops []Op, end *End) ([]fact, []porcupine.Operation) {
	var (
		facts []fact
		index = map[string]int{}
		list  []porcupine.Operation
	)
	ttl := int64(0)
	for _, op := range ops {
		if op.Kind == Trigger {
			ttl = op.TTL
		}
	}
	factOf := func(name string) int {
		id := end.Canonical(name)
		i, known := index[id]
		if !known {
			i = len(facts)
			index[id] = i
			facts = append(facts, fact{id: id, lo: forever, hi: 0, ttl: ttl, lost: end.MayVanish(id)})
		}
		facts[i].named = facts[i].named || id != name
		return i
	}
	// An id is accepted before anybody is told it; of several ids of one run the
	// last one counts.
	heard := map[string]int64{}
	made := map[string]string{} // by token
	for id, row := range end.Rows {
		if row.Token != "" && row.Kind == 0 {
			made[row.Token] = id
		}
	}
	for _, op := range ops {
		if op.Kind == Trigger && op.Outcome == OK {
			if at, known := heard[op.Run]; !known || op.Return < at {
				heard[op.Run] = op.Return
			}
		}
	}
	add := func(op Op, in input) {
		in.kind, in.call = op.Kind, op.Call
		list = append(list, porcupine.Operation{ClientId: int(op.N % 32), Input: in, Call: in.call, Return: in.ret})
	}
	for _, op := range ops {
		switch {
		case op.Kind == Trigger && op.Outcome == OK:
			i := factOf(op.Run)
			facts[i].lo = min(facts[i].lo, op.Call)
			facts[i].hi = max(facts[i].hi, heard[op.Run])
			add(op, input{ret: op.Return, run: i, unasked: op.Identity == "provisional", apart: op.Identity == "provisional" && end.Apart})
		case op.Kind == Trigger && op.Outcome == Unknown && made[op.Token] != "":
			i := factOf(made[op.Token])
			facts[i].lo = min(facts[i].lo, op.Call)
			if _, known := heard[made[op.Token]]; !known {
				facts[i].hi = forever
			}
			add(op, input{ret: forever, run: i})
		case op.Kind == Reset && (op.Outcome == OK || op.Outcome == No && op.HTTP == 404):
			add(op, input{ret: op.Return})
		case op.Kind == Reset && op.Outcome == Unknown:
			add(op, input{ret: max(op.Return, end.Mended) + int64(Late), maybe: true})
		case op.Kind == Finish && op.Arg == "FAILED" && op.Outcome == OK:
			add(op, input{ret: op.Return, run: factOf(op.Run)})
		case op.Kind == Finish && op.Arg == "FAILED" && op.Outcome == Unknown && end.Rows[end.Canonical(op.Run)].Status == "FAILED":
			add(op, input{ret: forever, run: factOf(op.Run)})
		}
	}
	// A failure of a run that never was an answer says nothing.
	for i := range facts {
		if facts[i].lo == forever {
			facts[i].lo, facts[i].hi = 0, forever
		}
	}
	return facts, list
}

// keys splits a history by key, and brings failures to the key of their run.
func keys(ops []Op, end *End) map[string][]Op {
	byKey := map[string][]Op{}
	keyOf := map[string]string{}
	for _, op := range ops {
		if op.Key == "" || (op.Kind != Trigger && op.Kind != Reset) {
			continue
		}
		name := fmt.Sprintf("%d/%s", op.Env, op.Key)
		byKey[name] = append(byKey[name], op)
		if op.Run != "" {
			keyOf[op.Run] = name
			keyOf[end.Canonical(op.Run)] = name
		}
	}
	for _, op := range ops {
		if name := keyOf[op.Run]; op.Kind == Finish && name != "" {
			byKey[name] = append(byKey[name], op)
		}
	}
	return byKey
}

// checkKeys has porcupine judge every key. A picture of each illegal history is
// given to draw.
func checkKeys(ops []Op, end *End, within time.Duration, draw func(key string, m porcupine.Model, info porcupine.LinearizationInfo)) []Violation {
	var found []Violation
	byKey := keys(ops, end)
	names := make([]string, 0, len(byKey))
	for name := range byKey {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		facts, list := keyHistory(byKey[name], end)
		m := model(facts)
		result, info := porcupine.CheckOperationsVerbose(m, list, within)
		if result == porcupine.Ok {
			continue
		}
		if draw != nil {
			draw(strings.ReplaceAll(name, "/", "-"), m, info)
		}
		kind := "illegal"
		if result == porcupine.Unknown {
			kind = "undecided"
		}
		found = append(found, Violation{kind, fmt.Sprintf("key %s: %d operations on %d runs", name, len(list), len(facts))})
	}
	return found
}
