package simulate

import (
	"fmt"
	"strings"
	"time"
)

// Plot draws the depth over time, in columns of text; "" if nothing was buffered.
func Plot(r *Report, columns, rows int) string {
	if r.PeakEntries == 0 || columns < 1 || rows < 1 {
		return ""
	}
	last := len(r.Depth)
	for last > 1 && r.Depth[last-1] == 0 {
		last--
	}
	depth := r.Depth[:last]
	columns = min(columns, last)
	high := make([]int, columns) // the most of the spans of a column
	for i, n := range depth {
		c := i * columns / last
		high[c] = max(high[c], n)
	}
	const steps = " ▁▂▃▄▅▆▇█"
	marks := []rune(steps)
	eighths := len(marks) - 1
	var b strings.Builder
	b.WriteString("\nruns in the buffer\n")
	for row := rows - 1; row >= 0; row-- {
		label := ""
		if row == rows-1 {
			label = fmt.Sprint(r.PeakEntries)
		} else if row == 0 {
			label = "0"
		}
		var line strings.Builder
		for _, n := range high {
			full := (n*rows*eighths + r.PeakEntries - 1) / r.PeakEntries // rounded up: what is there is seen
			line.WriteRune(marks[min(max(full-row*eighths, 0), eighths)])
		}
		fmt.Fprintf(&b, "%10s │%s\n", label, strings.TrimRight(line.String(), " "))
	}
	end := (time.Duration(last) * r.DepthEvery).String()
	fmt.Fprintf(&b, "%10s └%s\n%12s%*s\n", "", strings.Repeat("─", columns), "0s", columns-1, end)
	return b.String()
}
