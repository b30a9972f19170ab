package shard

import (
	"context"
	"runtime/trace"
)

// tracing is a flight as a task of runtime/trace: it lasts a passage, and its log
// has the states. Nil while nobody traces, which costs a flight one word.
type tracing struct {
	ctx  context.Context
	task *trace.Task
}

// passage counts a passage that begins, and traces it if anybody does.
func (t *Table[T]) passage(f *flight[T]) {
	t.begun++
	f.tracing.end()
	f.tracing = nil
	if trace.IsEnabled() {
		ctx, task := trace.NewTask(context.Background(), "flight")
		f.tracing = &tracing{ctx, task}
	}
}

// enters tells the state that the flight is in from now on.
func (t *tracing) enters(s state) {
	if t != nil {
		trace.Log(t.ctx, "state", s.String())
	}
}

func (t *tracing) end() {
	if t != nil {
		t.task.End()
	}
}
