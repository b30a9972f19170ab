package ring

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Buffer is what a ring needs of [buffer.Store].
type Buffer interface {
	Standing(ctx context.Context, kept []buffer.Kept) []buffer.Standing
	Restore(ctx context.Context, kept []buffer.Kept) []buffer.Restored
}

// Rows is what a ring needs of Postgres: [runstore.Store.Versions].
type Rows interface {
	Versions(ctx context.Context, environment string, ids []run.ID) (map[run.ID]int64, error)
}

const (
	partSize     = 256 // copies of one round trip
	maxPartBytes = 4 << 20
)

type settings struct {
	node   string        // names this process in Redis
	beat   time.Duration // between beats
	rounds time.Duration // between looks without a signal
	log    *slog.Logger
}

func (s settings) withDefaults() settings {
	if s.node == "" {
		s.node = rand.Text()
	}
	if s.beat == 0 {
		s.beat = time.Second
	}
	if s.rounds == 0 {
		s.rounds = 5 * time.Second
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Start begins to listen for signals and to look, until [Ring.Stop].
func (r *Ring) Start(db *redisdb.DB, b Buffer, rows Rows, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.done = cancel, make(chan struct{})
	r.cfg.log = log
	go r.loop(ctx, db, looker{ring: r, buffer: b, rows: rows})
}

// Stop ends what [Ring.Start] began. What is kept stays kept, for who looks at it. A
// ring that was not started, or is nil, is stopped.
func (r *Ring) Stop() {
	if r == nil || r.stop == nil {
		return
	}
	r.stop()
	<-r.done
}

func (r *Ring) loop(ctx context.Context, db *redisdb.DB, l looker) {
	defer close(r.done)
	tick := time.NewTicker(r.cfg.beat)
	defer tick.Stop()
	due := time.Now().Add(r.cfg.rounds)
	suspect := map[int]bool{} // partitions of which every copy is to be looked at
	r.pulse(ctx, db)          // what to compare the next with
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		back := r.pulse(ctx, db)
		if len(back) > 0 {
			r.count.signals.Add(uint64(len(back)))
			r.cfg.log.Warn("redis may have gone back in time: what it lost of this node's runs is put back",
				slog.Int("partitions", len(back)), slog.Int64("kept", r.Stats().Entries))
		}
		for _, p := range back {
			suspect[p] = true
		}
		if len(suspect) > 0 && l.all(ctx, suspect) == nil {
			clear(suspect)
		}
		if now := time.Now(); !now.Before(due) {
			l.round(ctx)
			due = now.Add(r.cfg.rounds)
		}
	}
}

// looker looks at the copies of a ring.
type looker struct {
	ring   *Ring
	buffer Buffer
	rows   Rows
	turn   uint64 // where the part that goes round has come to
}

// all looks at every copy of some partitions. An error says that not all could be
// judged.
func (l *looker) all(ctx context.Context, partitions map[int]bool) error {
	in := func(k *buffer.Kept) bool {
		p, _ := k.ID.Partition()
		return partitions[p]
	}
	var errs error
	for seq, from := uint64(0), int32(none); ; {
		p, last := l.ring.after(seq, from, partSize, in)
		if len(p.kept) == 0 {
			return errs
		}
		_, err := l.look(ctx, p)
		errs = errors.Join(errs, err)
		seq, from = p.seq[len(p.seq)-1], last
	}
}

// round looks at the oldest copies, as far as they leave, and at one part more.
func (l *looker) round(ctx context.Context) {
	for seq, from := uint64(0), int32(none); ; {
		p, last := l.ring.after(seq, from, partSize, nil)
		if len(p.kept) == 0 {
			l.turn = 0
			return
		}
		left, err := l.look(ctx, p)
		seq, from = p.seq[len(p.seq)-1], last
		if err != nil || 2*left < len(p.kept) {
			break
		}
	}
	p, _ := l.ring.after(l.turn, none, partSize, nil)
	if len(p.kept) == 0 {
		l.turn = 0
		return
	}
	if _, err := l.look(ctx, p); err == nil {
		l.turn = p.seq[len(p.seq)-1]
	}
}

// look judges the copies of a part, drops those that are in Postgres and restores
// those that were lost. The error is that some could not be judged; they stay.
func (l *looker) look(ctx context.Context, p part) (left int, err error) {
	var done, gone, lost []int
	for i, s := range l.buffer.Standing(ctx, p.kept) {
		switch {
		case s.Err != nil:
			err = s.Err
		case s.Stand == buffer.Landed:
			done = append(done, i)
		case s.Stand == buffer.Gone:
			gone = append(gone, i)
		case s.Stand == buffer.Lacking:
			lost = append(lost, i)
		}
	}
	byEnv := map[string][]int{}
	for _, i := range gone {
		byEnv[p.kept[i].Environment] = append(byEnv[p.kept[i].Environment], i)
	}
	for environment, of := range byEnv {
		ids := make([]run.ID, len(of))
		for j, i := range of {
			ids[j] = p.kept[i].ID
		}
		has, askErr := l.rows.Versions(ctx, environment, ids)
		if askErr != nil {
			err = askErr
			continue
		}
		for _, i := range of {
			if ver, there := has[p.kept[i].ID]; there && ver >= p.kept[i].Ver() {
				done = append(done, i)
			} else {
				lost = append(lost, i)
			}
		}
	}
	if len(lost) > 0 {
		given, restoreErr := l.restore(ctx, &p, lost)
		if done = append(done, given...); restoreErr != nil {
			err = restoreErr
		}
	}
	l.ring.left(&p, done)
	return len(done), err
}

// restore puts back what was lost, and returns the copies that are not needed any
// more, or that no try can help.
func (l *looker) restore(ctx context.Context, p *part, lost []int) (gone []int, err error) {
	kept := make([]buffer.Kept, len(lost))
	for j, i := range lost {
		kept[j] = p.kept[i]
	}
	runs, patches, hopeless := 0, 0, uint64(0)
	for j, restored := range l.buffer.Restore(ctx, kept) {
		switch {
		case restored.Anew:
			gone = append(gone, lost[j])
		case restored.Err == nil:
		case errors.Is(restored.Err, run.ErrUnavailable):
			err = restored.Err
		default:
			hopeless++
			gone = append(gone, lost[j])
			l.ring.cfg.log.Error("a buffered run that redis lost can not be put back",
				slog.String("run", kept[j].ID.String()), slog.String("environment", kept[j].Environment), slog.Any("error", restored.Err))
		}
		if restored.Run {
			runs++
		} else {
			patches += restored.Patches
		}
	}
	l.ring.count.runs.Add(uint64(runs))
	l.ring.count.patches.Add(uint64(patches))
	l.ring.count.refused.Add(hopeless)
	if runs+patches > 0 {
		l.ring.cfg.log.Warn("redis had lost what this node acknowledged; it is put back",
			slog.Int("runs", runs), slog.Int("patches", patches))
	}
	return gone, err
}
