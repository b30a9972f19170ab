package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	recorderFolder = "traces" // in the data folder
	recorderPrefix = "slo-"
	recorderSuffix = ".trace"

	recordFor     = 5 * time.Second // of the past that a dump has at least
	recordBytes   = 16 << 20        // about the most that is kept of it
	judgeEvery    = time.Second
	judgeLeast    = 20  // triggers, below which a second says nothing
	judgeShare    = 100 // one in so many may be bad
	recordPause   = 5 * time.Minute
	recordsAtMost = 8
)

// recorder keeps the last seconds of the runtime's trace, and writes them to a file
// when triggers break their objective: when more than one in a hundred of a
// second's triggers took longer than it, or failed. At most one file in five
// minutes, of which the last eight are kept.
//
// It is asked from many goroutines ([recorder.triggered]); everything else is its
// loop's. A crash leaves at most a file that is not renamed yet, which the next
// dump removes.
type recorder struct {
	objective time.Duration
	folder    string
	log       *slog.Logger

	all, bad atomic.Int64 // triggers since the last look

	flight *trace.FlightRecorder
	last   time.Time // of the last dump; the zero Time before the first
	stop   sync.Once
}

// newRecorder begins to record. It is nil if the objective is zero.
func newRecorder(objective time.Duration, data string, log *slog.Logger) (*recorder, error) {
	if objective == 0 {
		return nil, nil
	}
	r := &recorder{
		objective: objective, folder: filepath.Join(data, recorderFolder), log: log,
		flight: trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: recordFor, MaxBytes: recordBytes}),
	}
	if err := os.MkdirAll(r.folder, 0o700); err != nil {
		return nil, err
	}
	if err := r.flight.Start(); err != nil {
		return nil, err // somebody else records in this process
	}
	return r, nil
}

// triggered is told of an answered trigger.
func (r *recorder) triggered(status int, took time.Duration) {
	r.all.Add(1)
	if took > r.objective || status >= http.StatusInternalServerError {
		r.bad.Add(1)
	}
}

func (r *recorder) loop(ctx context.Context) {
	every(ctx, judgeEvery, func() { r.look(time.Now()) })
}

// look judges the triggers since the look before, and dumps the trace if it has to.
func (r *recorder) look(now time.Time) {
	bad, all := r.bad.Swap(0), r.all.Swap(0) // one that is counted between the two is judged next
	if all < judgeLeast || bad*judgeShare <= all || !r.last.IsZero() && now.Sub(r.last) < recordPause {
		return
	}
	r.last = now
	name, err := r.dump(now)
	if err != nil {
		r.log.Error("the trace of triggers that broke -slo could not be written", slog.Any("error", named(err)))
		return
	}
	r.log.Warn("triggers break -slo; the trace is in the data folder", slog.Int64("triggers", all), slog.Int64("bad", bad),
		slog.String("file", filepath.Join(recorderFolder, name)))
}

// named is an error without the path in it.
func named(err error) error {
	if at, ok := errors.AsType[*os.PathError](err); ok {
		return at.Err
	}
	if at, ok := errors.AsType[*os.LinkError](err); ok {
		return at.Err
	}
	return err
}

// dump writes the last seconds to a file of their own.
func (r *recorder) dump(now time.Time) (name string, err error) {
	name = recorderPrefix + now.UTC().Format("20060102T150405.000Z") + recorderSuffix
	if err := r.makeRoom(); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(r.folder, "tmp-*")
	if err != nil {
		return "", err
	}
	_, err = r.flight.WriteTo(file)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(r.folder, name))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return name, nil
}

// makeRoom removes the oldest files, and what a crash has left.
func (r *recorder) makeRoom() error {
	list, err := os.ReadDir(r.folder)
	if err != nil {
		return err
	}
	var kept []string // their names sort by their time
	for _, f := range list {
		switch name := f.Name(); {
		case strings.HasPrefix(name, "tmp-"):
			err = errors.Join(err, os.Remove(filepath.Join(r.folder, name)))
		case strings.HasPrefix(name, recorderPrefix) && strings.HasSuffix(name, recorderSuffix):
			kept = append(kept, name)
		}
	}
	slices.Sort(kept)
	for len(kept) >= recordsAtMost {
		err = errors.Join(err, os.Remove(filepath.Join(r.folder, kept[0])))
		kept = kept[1:]
	}
	return err
}

func (r *recorder) close() {
	if r != nil {
		r.stop.Do(r.flight.Stop)
	}
}

// openRecorder begins to record what breaks -slo.
func (n *node) openRecorder() (err error) {
	if n.recorder, err = newRecorder(n.set.telemetry.slo, n.set.data, n.log); err != nil {
		return fmt.Errorf("-slo: %w", err)
	}
	if n.recorder != nil {
		n.loops.start(n.recorder.loop)
	}
	return nil
}
