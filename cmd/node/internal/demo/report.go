package demo

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// Wave is what became of one storm.
type Wave struct {
	Title        string
	Triggers     int
	Acknowledged int   // callers with a run id in hand
	Runs         int   // rows that Postgres holds for them
	Duplicates   int   // answered isCached: true
	Retries      int64 // tries that were refused or lost, and repeated
	Work         Work  // what the stores were asked meanwhile
	WorkKnown    bool
	Took         time.Duration
	P50, P99     time.Duration // from first try to acknowledgement
	Broken       []string      // each deviation from the promise
}

// Work is what a node has asked of its stores since it started.
type Work struct {
	Claims        int64 // claims asked of Redis
	RedisCalls    int64 // calls that carried them, and what followed, in batches
	PostgresCalls int64 // calls that wrote or looked up runs, in batches
}

func (w Work) since(before Work) Work {
	return Work{w.Claims - before.Claims, w.RedisCalls - before.RedisCalls, w.PostgresCalls - before.PostgresCalls}
}

// Report is the outcome of a demo.
type Report struct {
	Waves   []Wave
	Tenants *Tenants // nil if that part was left out
}

// Held reports whether the promise held for every trigger.
func (r *Report) Held() bool {
	for _, w := range r.Waves {
		if len(w.Broken) > 0 {
			return false
		}
	}
	return r.Tenants == nil || len(r.Tenants.Broken) == 0
}

// maxBroken is how many deviations a report spells out.
const maxBroken = 10

// Print writes the report as a short table.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	line := func(title string, cell func(Wave) string) {
		fmt.Fprintf(w, "%-22s\t", title)
		for _, wave := range r.Waves {
			fmt.Fprintf(w, "%s\t", cell(wave))
		}
		fmt.Fprintln(w)
	}
	line("", func(v Wave) string { return v.Title })
	line("triggers", func(v Wave) string { return thousands(int64(v.Triggers)) })
	line("acknowledged", func(v Wave) string { return thousands(int64(v.Acknowledged)) })
	line("runs in Postgres", func(v Wave) string { return thousands(int64(v.Runs)) })
	line("duplicates answered", func(v Wave) string { return thousands(int64(v.Duplicates)) })
	work := func(title string, n func(Work) int64) {
		line(title, func(v Wave) string {
			if !v.WorkKnown {
				return "-"
			}
			return thousands(n(v.Work))
		})
	}
	work("claims asked of Redis", func(w Work) int64 { return w.Claims })
	work("calls to Redis", func(w Work) int64 { return w.RedisCalls })
	work("calls to Postgres", func(w Work) int64 { return w.PostgresCalls })
	line("tries repeated", func(v Wave) string { return thousands(v.Retries) })
	line("triggers a second", func(v Wave) string {
		return thousands(int64(float64(v.Acknowledged) / max(v.Took, time.Microsecond).Seconds()))
	})
	line("latency p50", func(v Wave) string { return milliseconds(v.P50) })
	line("latency p99", func(v Wave) string { return milliseconds(v.P99) })
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Tenants != nil {
		if err := r.Tenants.print(out); err != nil {
			return err
		}
	}
	if r.Held() {
		_, err := fmt.Fprintln(out, "\nThe promise held: one run for each key, every answer in Postgres.")
		return err
	}
	fmt.Fprintln(out, "\nTHE PROMISE WAS BROKEN:")
	for _, wave := range r.Waves {
		printBroken(out, wave.Title, wave.Broken)
	}
	if r.Tenants != nil {
		printBroken(out, "two tenants", r.Tenants.Broken)
	}
	return nil
}

func printBroken(out io.Writer, title string, broken []string) {
	for i, b := range broken {
		if i == maxBroken {
			fmt.Fprintf(out, "  (%s) and %d more\n", title, len(broken)-i)
			break
		}
		fmt.Fprintf(out, "  (%s) %s\n", title, b)
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// thousands writes a number with commas between its groups.
func thousands(n int64) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
