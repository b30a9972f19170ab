package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/client"
)

const (
	trickleEvery = 50 * time.Millisecond // far below any threshold
	calm         = 2 * time.Second       // of trickling alone, before the storm
	dwellSample  = 20                    // one of so many mollified runs is watched
	dwellEvery   = 50 * time.Millisecond // how often they are looked for
)

// Tenant is what one of two environments met.
type Tenant struct {
	Triggers, Acknowledged int
	Mollified              int // answered while the run was in the buffer
	Retries                int64
	P50, P99               time.Duration // from first try to acknowledgement
}

// Tenants is what became of a storm in one environment beside a trickle in
// another.
type Tenants struct {
	Storm, Trickle Tenant
	// Dwell50 and Dwell99 are from the acknowledgement of a mollified run to the
	// look at Postgres that found its row, over Watched of them. Looks are
	// dwellEvery apart, so they are too long by up to that and a look's own time.
	Dwell50, Dwell99 time.Duration
	Watched          int
	// Rows a second that Postgres took: while there was only the trickle, while
	// the storm came in, and from its end until its last row was there.
	Before, During, After float64
	Reads                 ReadCount
	Broken                []string
}

// ReadCount counts reads of runs that had been acknowledged before.
type ReadCount struct{ Answered, Missing, Unavailable int }

// tenants has the second environment storm while the first trickles.
func (c Config) tenants(ctx context.Context, name string) (*Tenants, error) {
	conn, err := connect(ctx, c.Postgres)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	url := strings.TrimRight(c.URL, "/")
	watch := &watch{readers: map[string]*client.Client{}}
	for _, key := range []string{c.Key, c.StormKey} {
		// A read is tried once: what one read is answered is what is counted.
		reader, err := client.New(client.Config{URL: url, Key: key, Connections: 4, Patience: -1})
		if err != nil {
			return nil, err
		}
		defer reader.Close()
		watch.readers[key] = reader
	}
	loud := &storm{url: url, key: c.StormKey, task: name + "-storm", keys: make([]string, c.Storm), connections: min(c.Connections, c.Storm)}
	for i := range loud.keys {
		loud.keys[i] = keyName(i)
	}
	quiet := &storm{url: url, key: c.Key, task: name + "-trickle", latency: newLatency()}
	loud.onAck = func(a ack) { watch.saw(a, c.StormKey) }
	quiet.onAck = func(a ack) { watch.saw(a, c.Key) }

	// Whoever keeps watch does so until the last row is there.
	watching, end := context.WithCancel(ctx)
	defer end()
	var wait sync.WaitGroup
	var dwellErr error
	wait.Go(func() { quiet.trickle(watching) })
	wait.Go(func() { dwellErr = watch.dwells(watching, c.Postgres) })
	wait.Go(func() { watch.reads(watching) })

	out, err := c.storms(ctx, conn, loud, quiet)
	end()
	wait.Wait()
	if err = errors.Join(err, dwellErr); err != nil {
		return nil, err
	}
	out.Storm, out.Trickle = loud.tenant(), quiet.tenant()
	out.Dwell50, out.Dwell99 = micros(watch.dwell.ValueAtQuantile(50)), micros(watch.dwell.ValueAtQuantile(99))
	out.Watched, out.Reads = int(watch.dwell.TotalCount()), watch.count
	for _, s := range []*storm{loud, quiet} {
		rows, err := drainedRows(ctx, c.Postgres, s)
		if err != nil {
			return nil, err
		}
		_, _, broken := compare(s.keys, s.acks, rows)
		out.Broken = append(out.Broken, broken...)
	}
	if n := out.Reads.Missing; n > 0 {
		out.Broken = append(out.Broken, fmt.Sprintf("%d reads of acknowledged runs were answered with 404", n))
	}
	return out, nil
}

// storms measures the rows that Postgres takes before, during and after.
func (c Config) storms(ctx context.Context, conn *pgx.Conn, loud, quiet *storm) (*Tenants, error) {
	out := &Tenants{}
	last, rows := time.Now(), 0
	rate := func() (float64, error) {
		now, before := time.Now(), rows
		var err error
		if rows, err = countRows(ctx, conn, loud.task, quiet.task); err != nil {
			return 0, err
		}
		took := now.Sub(last)
		last = now
		return float64(rows-before) / max(took, time.Microsecond).Seconds(), nil
	}
	select {
	case <-time.After(calm):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var err error
	if out.Before, err = rate(); err != nil {
		return nil, err
	}
	stop := c.follow("of a storm", loud)
	loud.run(ctx)
	stop()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if out.During, err = rate(); err != nil {
		return nil, err
	}
	if err := awaitRows(ctx, conn, loud); err != nil {
		return nil, err
	}
	out.After, err = rate()
	return out, err
}

// trickle sends one trigger after another, each with a key of its own, until ctx
// ends. What is under way then is acknowledged first.
func (s *storm) trickle(ctx context.Context) {
	caller, err := s.client(1)
	if err != nil {
		return // the storm beside it says why
	}
	defer caller.Close()
	tick := time.NewTicker(trickleEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.keys = append(s.keys, keyName(i))
		began := time.Now()
		a := s.send(context.WithoutCancel(ctx), caller, i)
		s.acks = append(s.acks, a)
		if a.err == nil {
			// An impossible latency can only be one that is too long.
			_ = s.latency.RecordValue(min(time.Since(began), maxLatency).Microseconds())
			s.onAck(a)
		}
	}
}

func (s *storm) tenant() Tenant {
	t := Tenant{
		Triggers: len(s.keys), Retries: s.retries.Load(),
		P50: micros(s.latency.ValueAtQuantile(50)), P99: micros(s.latency.ValueAtQuantile(99)),
	}
	for _, a := range s.acks {
		if a.err == nil {
			t.Acknowledged++
		}
		if a.queued {
			t.Mollified++
		}
	}
	return t
}

func (t *Tenants) print(out io.Writer) error {
	fmt.Fprintln(out, "\nOne tenant storms while another trickles:")
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	line := func(title string, cell func(Tenant) string) {
		fmt.Fprintf(w, "%-22s\t%s\t%s\t\n", title, cell(t.Storm), cell(t.Trickle))
	}
	fmt.Fprintf(w, "%-22s\tstorm\ttrickle\t\n", "")
	line("triggers", func(v Tenant) string { return thousands(int64(v.Triggers)) })
	line("mollified", func(v Tenant) string { return thousands(int64(v.Mollified)) })
	line("passed", func(v Tenant) string { return thousands(int64(v.Acknowledged - v.Mollified)) })
	line("tries refused", func(v Tenant) string { return thousands(v.Retries) })
	line("latency p50", func(v Tenant) string { return milliseconds(v.P50) })
	line("latency p99", func(v Tenant) string { return milliseconds(v.P99) })
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `
   dwell of a mollified run, from its answer to its row being seen:
      p50 %s, p99 %s (%s watched, looked for every %d ms)
   rows a second in Postgres: %s before the storm, %s during, %s after, until drained
   reads of acknowledged runs meanwhile: %s answered, %s not found, %s unavailable
`,
		milliseconds(t.Dwell50), milliseconds(t.Dwell99), thousands(int64(t.Watched)), dwellEvery.Milliseconds(),
		thousands(int64(t.Before)), thousands(int64(t.During)), thousands(int64(t.After)),
		thousands(int64(t.Reads.Answered)), thousands(int64(t.Reads.Missing)), thousands(int64(t.Reads.Unavailable)))
	return err
}
