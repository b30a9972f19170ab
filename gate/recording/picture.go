package recording

import (
	"bufio"
	"cmp"
	"fmt"
	"html"
	"io"
	"time"
)

// drawn is how many environments a picture shows.
const drawn = 12

// The measures of a picture, in its own units.
const (
	width      = 960
	left       = 16
	plotWidth  = width - 2*left
	headHeight = 84
	panel      = 168 // of an environment, with what separates it from the next
	barsTop    = 46
	barsHeight = 72
	stripe1    = barsTop + barsHeight + 6
	stripe2    = stripe1 + 10
	axis       = stripe2 + 22
)

const style = `
  :root { color-scheme: light dark; --paper: #fffefb; --ink: #1d2126; --soft: #575d66; --line: #e2ddd2; --passed: #1d6f94; --mollified: #c8741a; --recorded: #8d95a3 }
  @media (prefers-color-scheme: dark) { :root { --paper: #181d23; --ink: #eceae4; --soft: #a5adb8; --line: #2b323b; --passed: #4fa8d1; --mollified: #f2a24e; --recorded: #6d7685 } }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink) }
  .title { font-size: 17px; font-weight: 600 } .name { font-weight: 600 } .soft { fill: var(--soft); font-size: 12px }
  .paper { fill: var(--paper) } .line { stroke: var(--line); fill: none }
  .passed { fill: var(--passed) } .mollified { fill: var(--mollified) } .recorded { fill: var(--recorded) }`

// Picture writes a report as SVG, for light and dark: of the environments with most
// triggers what came, what of it would have been mollified, and when the rate had
// tripped, as recorded and as replayed.
func (r *Report) Picture(w io.Writer) error {
	out := bufio.NewWriter(w)
	shown := r.Environments[:min(drawn, len(r.Environments))]
	height := headHeight + panel*len(shown) + 8
	p := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="What the gate would have done">`, width, height)
	p(`<style>%s</style>`, style)
	p(`<rect class="paper" width="%d" height="%d"/>`, width, height)
	p(`<text class="title" x="%d" y="30">What the gate would have done</text>`, left)
	about := fmt.Sprintf("%s to %s UTC, %s a column", r.From.UTC().Format(time.DateTime), r.Until.UTC().Format(time.TimeOnly), r.Every)
	if more := len(r.Environments) - len(shown); more > 0 {
		about += fmt.Sprintf("; %d more environments are not shown", more)
	}
	p(`<text class="soft" x="%d" y="50">%s</text>`, left, about)
	x := left
	for _, l := range []struct{ class, text string }{
		{"passed", "passes"}, {"mollified", "would be mollified; below: tripped, as replayed"}, {"recorded", "tripped, as recorded"},
	} {
		p(`<rect class="%s" x="%d" y="62" width="11" height="11" rx="2"/><text class="soft" x="%d" y="72">%s</text>`, l.class, x, x+17, l.text)
		x += 50 + 7*len(l.text)
	}
	for i := range shown {
		r.draw(p, &shown[i], headHeight+i*panel)
	}
	p(`</svg>`)
	return out.Flush()
}

// draw draws one environment at a height.
func (r *Report) draw(p func(string, ...any), e *Environment, top int) {
	most := 1
	for _, c := range e.Columns {
		most = max(most, c.Triggers)
	}
	name := cmp.Or(e.Name, e.Environment)
	if runes := []rune(name); len(runes) > 60 {
		name = string(runes[:59]) + "…"
	}
	p(`<g transform="translate(0 %d)">`, top)
	p(`<path class="line" d="M%d 6H%d"/>`, left, width-left)
	p(`<text class="name" x="%d" y="26">%s</text>`, left, html.EscapeString(name))
	p(`<text class="soft" x="%d" y="26" text-anchor="end">%d triggers, at most %d in %s; threshold %d: %s, %d mollified (recorded: %d)</text>`, width-left,
		e.Triggers, e.Peak, e.Limits.Window, e.Limits.Threshold, times(len(e.Replayed.Trips)), e.Replayed.Mollified, e.Recorded.Mollified)
	step := float64(plotWidth) / float64(len(e.Columns))
	bar := max(step-0.6, 0.8)
	at := func(t time.Time) float64 {
		return left + plotWidth*float64(t.Sub(r.From))/float64(time.Duration(len(e.Columns))*r.Every)
	}
	for i, c := range e.Columns {
		x, high := left+float64(i)*step, float64(barsHeight)/float64(most)
		passed, mollified := high*float64(c.Triggers-c.Mollified), high*float64(c.Mollified)
		if passed > 0 {
			p(`<rect class="passed" x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, x, barsTop+barsHeight-passed, bar, passed)
		}
		if mollified > 0 {
			p(`<rect class="mollified" x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, x, barsTop+barsHeight-passed-mollified, bar, mollified)
		}
	}
	p(`<text class="soft" x="%d" y="%d">at most %d in a column</text>`, left, barsTop-4, most)
	p(`<path class="line" d="M%d %dH%d"/>`, left, barsTop+barsHeight, width-left)
	for _, lane := range []struct {
		class string
		y     int
		trips []Trip
	}{{"mollified", stripe1, e.Replayed.Trips}, {"recorded", stripe2, e.Recorded.Trips}} {
		for _, t := range lane.trips {
			from, to := at(t.Began), min(at(t.Ended), width-left)
			p(`<rect class="%s" x="%.2f" y="%d" width="%.2f" height="6" rx="1.5"/>`, lane.class, from, lane.y, max(to-from, 1.5))
		}
	}
	for i := range 5 {
		anchor := [...]string{"start", "middle", "middle", "middle", "end"}[i]
		t := r.From.Add(time.Duration(i) * time.Duration(len(e.Columns)) * r.Every / 4)
		p(`<text class="soft" x="%d" y="%d" text-anchor="%s">%s</text>`, left+plotWidth*i/4, axis, anchor, t.UTC().Format("15:04:05"))
	}
	p(`</g>`)
}

func times(n int) string {
	switch n {
	case 0:
		return "never tripped"
	case 1:
		return "tripped once"
	}
	return fmt.Sprintf("tripped %d times", n)
}
