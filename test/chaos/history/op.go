// Package history records what clients asked and were told, and judges it.
//
// Three judgements, because none sees what the others see. The model says
// whether the answers about one key are those of a system that does one thing
// after another (porcupine searches for such an order). The set check says whether
// everything that was acknowledged is there at the end, with every change that was
// answered. The execution check says whether each run was handed out once, and
// whether two runs held one key at a time.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"
)

// Kind is what a client asked for.
type Kind string

// The kinds of operations.
const (
	Trigger Kind = "trigger"
	Get     Kind = "get"
	List    Kind = "list"
	Reset   Kind = "reset"
	Cancel  Kind = "cancel"
	Tag     Kind = "tag"
	Bump    Kind = "bump" // adds one to a counter in the run's metadata
	Take    Kind = "take"
	Finish  Kind = "finish"
	Foreign Kind = "foreign" // reads or changes a run with another environment's key
)

// Outcome is what a client knows of its operation's effect.
type Outcome string

// The outcomes. Every error that is not known to have had no effect is Unknown.
const (
	OK      Outcome = "ok"
	No      Outcome = "no"
	Unknown Outcome = "unknown"
)

// Op is one operation: what was asked, of whom, when, and what came back. Instants
// are nanoseconds since the run began, on one monotonic clock.
type Op struct {
	N       int64   `json:"n"`
	Kind    Kind    `json:"kind"`
	Node    string  `json:"node"`
	Env     int     `json:"env"`
	Call    int64   `json:"call"`
	Return  int64   `json:"return"`
	Outcome Outcome `json:"outcome"`
	HTTP    int     `json:"http,omitempty"` // 0: no answer came
	Problem string  `json:"problem,omitempty"`

	Key   string `json:"key,omitempty"`   // of a trigger or a reset
	TTL   int64  `json:"ttl,omitempty"`   // of the key, nanoseconds
	Token string `json:"token,omitempty"` // in the trigger's payload: names who made a run. Its retries share it
	Run   string `json:"run,omitempty"`   // what was asked about, or what a trigger was answered
	Arg   string `json:"arg,omitempty"`   // tag, status

	Cached    bool     `json:"cached,omitempty"`
	Canonical string   `json:"canonical,omitempty"`
	Identity  string   `json:"identity,omitempty"`
	State     string   `json:"state,omitempty"`
	Status    string   `json:"status,omitempty"`
	Runs      []string `json:"runs,omitempty"`
}

// Recorder keeps operations, in memory and on disk. It is safe for concurrent use.
type Recorder struct {
	began time.Time
	file  *os.File

	mu   sync.Mutex
	out  *bufio.Writer
	ops  []Op
	next int64
	err  error
}

// NewRecorder writes to a file, one operation a line, in the order of their ends.
func NewRecorder(path string) (*Recorder, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &Recorder{began: time.Now(), file: f, out: bufio.NewWriterSize(f, 1<<20)}, nil
}

// Now is the present instant of the run's clock.
func (r *Recorder) Now() int64 { return int64(time.Since(r.began)) }

// Number returns a number that no other operation has.
func (r *Recorder) Number() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	return r.next
}

// Add keeps an operation that has ended.
func (r *Recorder) Add(op Op) {
	line, err := json.Marshal(op)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
	if err == nil {
		_, err = r.out.Write(append(line, '\n'))
	}
	r.err = errors.Join(r.err, err)
}

// Ops are all operations so far.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Op(nil), r.ops...)
}

// Close flushes and closes the file.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.err, r.out.Flush(), r.file.Close())
}
