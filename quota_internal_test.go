package mollifier

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// A buffer that holds something too old takes nothing more; once it is empty it
// does again, even if its age was heard of later than its emptiness.
func TestTheBufferIsTakenUpAgainAfterAge(t *testing.T) {
	t.Parallel()
	oldest, empty := 2*time.Hour, buffer.Usage{}
	q := &quotas{
		cfg:    BufferConfig{MaxEntries: 10, MaxBytes: 1 << 20, TotalEntries: 10, TotalBytes: 1 << 20, MaxAge: time.Hour},
		usage:  func(context.Context, string) (buffer.Usage, error) { return empty, nil },
		total:  func(context.Context) (buffer.Usage, error) { return empty, nil },
		oldest: func() time.Duration { return oldest },
		rate:   func(string) (float64, float64) { return 0, 0 },
		envs:   map[string]*level{}, news: make(chan struct{}, 1),
	}
	if err := q.admit("env", 1); err != nil {
		t.Fatal(err)
	}
	if !q.read(t.Context()) {
		t.Fatal("an old entry is not watched any more")
	}
	if err := q.admit("env", 1); !errors.Is(err, run.ErrOverloaded) {
		t.Fatalf("beside an entry that is too old: %v", err)
	}
	oldest = 0
	if q.read(t.Context()) {
		t.Error("an empty buffer is watched for ever")
	}
	if err := q.admit("env", 1); err != nil {
		t.Errorf("after the buffer was emptied: %v", err)
	}
}
