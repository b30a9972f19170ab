package shard

import "github.com/e0ff5a15/mollifier/run"

// openGate lets every trigger pass.
type openGate struct{}

func (openGate) Peek(*run.Snapshot) bool   { return false }
func (openGate) Decide(*run.Snapshot) bool { return false }
func (openGate) Count(*run.Snapshot)       {}
func (openGate) Since() (Moment, bool)     { return Moment{}, false }
func (openGate) Blind() bool               { return false }
