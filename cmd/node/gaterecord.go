package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/gate/recording"
)

const (
	gateRecordPath   = "/admin/v1/gate/record"
	gateRecordPrefix = "gate-"
	gateRecordSuffix = ".jsonl"
	gateRecordEvery  = 10 * time.Second
	gateRecordFiles  = 8 // that share the bytes of the folder
	gateRecordLeast  = 1 << 20
)

// gateRecord is the engine's, with what people call the environments.
func (n *node) gateRecord(from uint64) (lines []recording.Line, next uint64) {
	lines, next = n.engine.GateRecord(from)
	for i := range lines {
		l := &lines[i]
		if e, ok := n.tenants.Environment(l.Environment); ok {
			l.Name = e.Organisation.Name + "/" + e.Name
		}
	}
	return lines, next
}

// serveGateRecord answers GET /admin/v1/gate/record?last=10m&environment=: lines of
// JSON, see package recording.
func (n *node) serveGateRecord(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var after time.Time
	if text := query.Get("last"); text != "" {
		last, err := time.ParseDuration(text)
		if err != nil || last <= 0 {
			refuse(w, http.StatusBadRequest, "last: must be a duration, like 10m")
			return
		}
		after = time.Now().Add(-last)
	}
	environment := query.Get("environment")
	lines, _ := n.gateRecord(0)
	w.Header().Set("Content-Type", "application/jsonl")
	out := bufio.NewWriter(w)
	for i := range lines {
		l := &lines[i]
		if l.At.Before(after) || environment != "" && environment != l.Environment && environment != l.Name {
			continue
		}
		if err := l.Write(out); err != nil {
			break // whoever asked has gone
		}
	}
	if err := out.Flush(); err != nil {
		n.log.Debug("a recording was not delivered", slog.Any("error", err))
	}
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why})
}

// gateRecorder writes what the gate decides into files of a folder, the oldest of which
// it removes when they are too much. A file is only ever appended to; after a crash the
// last line of one may be half, and a start begins another.
type gateRecorder struct {
	folder string
	most   int64 // bytes of all files
	take   func(from uint64) (lines []recording.Line, next uint64)
	log    *slog.Logger

	next    uint64
	file    *os.File
	written int64 // into file
	failing bool
}

// openGateRecord begins to write what -gate-record asks for.
func (n *node) openGateRecord() error {
	if n.set.gateRecord == "" {
		return nil
	}
	r := &gateRecorder{folder: n.set.gateRecord, most: n.set.gateRecordBytes, take: n.gateRecord, log: n.log}
	if err := os.MkdirAll(r.folder, 0o700); err != nil {
		return usagef("-gate-record: %w", named(err))
	}
	if err := r.begin(time.Now()); err != nil {
		return usagef("-gate-record: %w", named(err))
	}
	n.loops.start(r.loop)
	return nil
}

func (r *gateRecorder) loop(ctx context.Context) {
	every(ctx, gateRecordEvery, func() { r.write(time.Now()) })
	r.write(time.Now())
	_ = r.file.Close()
}

// write appends what is new. What can not be written is left out, and told once.
func (r *gateRecorder) write(now time.Time) {
	var lines []recording.Line
	lines, r.next = r.take(r.next)
	if len(lines) == 0 {
		return
	}
	err := r.append(lines, now)
	if err != nil && !r.failing {
		r.log.Error("the gate's decisions can not be written to -gate-record", slog.Any("error", named(err)))
	}
	r.failing = err != nil
}

func (r *gateRecorder) append(lines []recording.Line, now time.Time) error {
	if r.written >= r.most/gateRecordFiles || r.failing {
		if err := r.begin(now); err != nil {
			return err
		}
	}
	var text strings.Builder
	for i := range lines {
		_ = lines[i].Write(&text) // into memory
	}
	n, err := r.file.WriteString(text.String())
	r.written += int64(n)
	return err
}

// begin begins a file, and removes the oldest ones if they are too much.
func (r *gateRecorder) begin(now time.Time) error {
	name := filepath.Join(r.folder, gateRecordPrefix+now.UTC().Format("20060102T150405.000Z")+gateRecordSuffix)
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if r.file != nil {
		_ = r.file.Close()
	}
	r.file, r.written = file, 0
	return r.makeRoom()
}

func (r *gateRecorder) makeRoom() error {
	names, err := recordedFiles(r.folder)
	if err != nil {
		return err
	}
	sizes, total := make([]int64, len(names)), int64(0)
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	for i := 0; i < len(names)-1 && total > r.most-r.most/gateRecordFiles; i++ {
		err = errors.Join(err, os.Remove(names[i]))
		total -= sizes[i]
	}
	return err
}

// recordedFiles are the files of a folder of -gate-record, the oldest first.
func recordedFiles(folder string) (names []string, err error) {
	list, err := os.ReadDir(folder)
	for _, f := range list {
		if strings.HasPrefix(f.Name(), gateRecordPrefix) && strings.HasSuffix(strings.TrimSuffix(f.Name(), ".gz"), gateRecordSuffix) {
			names = append(names, filepath.Join(folder, f.Name()))
		}
	}
	slices.Sort(names)
	return names, err
}
