package shard

import "github.com/e0ff5a15/mollifier/run"

// toldGate says what it was told to, and remembers what was counted.
type toldGate struct {
	mollify, blind, fresh bool
	divert                bool
	tells                 bool // of what it counted
	counted               string
}

func (g *toldGate) Peek(*run.Snapshot) bool { return g.mollify }

func (g *toldGate) Decide(*run.Snapshot) bool {
	g.counted += "counted by decide\n"
	return g.mollify
}

func (g *toldGate) Count(*run.Snapshot)   { g.counted += "counted\n" }
func (g *toldGate) Since() (Moment, bool) { return Moment{At: 5, Epoch: "e"}, g.fresh }
func (g *toldGate) Blind() bool           { return g.blind }

func (g *toldGate) Diverts(*run.Snapshot) bool { return g.divert }

// heard is what was counted since it was last asked.
func (g *toldGate) heard() string {
	s := g.counted
	g.counted = ""
	if !g.tells {
		return ""
	}
	return s
}
