package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/test/chaos/nemesis"
)

// Every nemesis can be named, alone and in a pair, and every kind of fault from N1
// to N14 is run or said not to be.
func TestEveryKindOfFaultHasItsLine(t *testing.T) {
	t.Parallel()
	classes := map[string]bool{}
	seen := map[string]bool{}
	for _, n := range nemesis.All() {
		classes[n.Class] = true
		if seen[n.Name] || n.What == "" || n.Run == nil {
			t.Errorf("%s: twice, or incomplete", n.Name)
		}
		seen[n.Name] = true
	}
	for name := range nemesis.NotRun {
		class, _, _ := strings.Cut(name, " ")
		classes[class] = true
	}
	for _, class := range strings.Fields("N1 N2 N3 N4 N5 N6 N7 N8 N9 N10 N11 N12 N13 N14") {
		if !classes[class] {
			t.Errorf("%s is neither run nor said not to be", class)
		}
	}
	for _, name := range short {
		if !seen[name] {
			t.Errorf("there is no nemesis %q", name)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list", "-dir", t.TempDir()}, &out); err != nil || !strings.Contains(out.String(), "redis-kill") {
		t.Errorf("-list: %v\n%s", err, out.String())
	}
	for _, args := range [][]string{
		{"-only", "nothing"},
		{"-only", "redis-kill+nothing"},
		{"-nodes", "0"},
		{"-duration", "1ms"},
		{"stray"},
	} {
		if err := run(t.Context(), append([]string{"-dir", t.TempDir()}, args...), &out); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

// With a base every run is an upgrade, and starts from the base.
func TestBaseIsUpgraded(t *testing.T) {
	t.Parallel()
	s, err := parse([]string{"-base", "old", "-node", "new", "-dir", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := newPlan(s, []nemesis.Nemesis{nemesis.Upgrade(s.base, s.program)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got := names(plan(i)); got != "rolling-upgrade" || !strings.HasSuffix(s.base, "/old") {
			t.Errorf("run %d is %s from %s", i, got, s.base)
		}
	}
}

// A seed names a plan.
func TestPlanFollowsItsSeed(t *testing.T) {
	t.Parallel()
	all := nemesis.All()
	list := func(seed uint64) (text string) {
		plan, err := newPlan(settings{seed: seed, pairs: 3}, all)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 * len(all) {
			text += names(plan(i)) + "\n"
		}
		return text
	}
	if first := list(1); first != list(1) || first == list(2) {
		t.Error("the plan does not follow its seed")
	}
	for _, n := range all {
		if !strings.Contains(list(3), n.Name) {
			t.Errorf("%s never comes", n.Name)
		}
	}
}
