package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
)

const (
	version = 1
	// Slot is how finely time is recorded.
	Slot  = 10 * time.Millisecond
	slots = int(time.Second / Slot)
	// longestLine holds twice as many slots as a line has, with the largest figures.
	longestLine = 64 << 10
)

// Line is what was decided of one environment in one second, by one node.
type Line struct {
	At           time.Time // a whole second
	Node         string
	Seq          uint64 // with Node and At, no other line has it
	Organisation string
	Environment  string
	Name         string // what people call the environment; may be empty
	Enrolled     bool   // else what is called mollified would have been: shadow mode
	Algorithm    gate.Algorithm
	Limits       gate.Limits
	Slots        []Counts // in the order of time
}

// Counts is a slot of a line.
type Counts struct {
	Slot      uint8 // of the second: 0 to 99
	Given     bool  // the rate did not decide alone: an override, or Postgres in trouble
	Triggers  uint32
	Mollified uint32 // of them
}

// lineJSON is a line as it is written. A slot is [number, triggers, mollified, given],
// without the zeros at its end.
type lineJSON struct {
	V            int        `json:"v"`
	At           time.Time  `json:"at"`
	Node         string     `json:"node,omitempty"`
	Seq          uint64     `json:"seq"`
	Organisation string     `json:"organisation"`
	Environment  string     `json:"environment"`
	Name         string     `json:"name,omitempty"`
	Enrolled     bool       `json:"enrolled"`
	Algorithm    string     `json:"algorithm"`
	Window       string     `json:"window"`
	Threshold    int        `json:"threshold"`
	Hold         string     `json:"hold"`
	Slots        [][]uint32 `json:"slots"`
}

// Write appends a line to a recording.
func (l *Line) Write(w io.Writer) error {
	out := lineJSON{
		V: version, At: l.At.UTC(), Node: l.Node, Seq: l.Seq, Organisation: l.Organisation, Environment: l.Environment, Name: l.Name,
		Enrolled: l.Enrolled, Algorithm: l.Algorithm.String(), Window: l.Limits.Window.String(), Threshold: l.Limits.Threshold,
		Hold: l.Limits.Hold.String(), Slots: make([][]uint32, len(l.Slots)),
	}
	for i, c := range l.Slots {
		s := []uint32{uint32(c.Slot), c.Triggers, c.Mollified, 0}
		if c.Given {
			s[3] = 1
		}
		for len(s) > 2 && s[len(s)-1] == 0 {
			s = s[:len(s)-1]
		}
		out.Slots[i] = s
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

func parse(text []byte) (l Line, err error) {
	var in lineJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return l, err
	}
	if in.V != version {
		return l, fmt.Errorf("v: must be %d: it was recorded by another version", version)
	}
	l = Line{
		At: in.At, Node: in.Node, Seq: in.Seq, Organisation: in.Organisation, Environment: in.Environment, Name: in.Name,
		Enrolled: in.Enrolled, Limits: gate.Limits{Threshold: in.Threshold}, Slots: make([]Counts, len(in.Slots)),
	}
	if l.At.Nanosecond() != 0 || l.At.Year() < 1970 || l.At.Year() > 9999 {
		return l, errors.New("at: must be a whole second")
	}
	if l.Algorithm, err = Algorithm(in.Algorithm); err != nil {
		return l, fmt.Errorf("algorithm: %w", err)
	}
	for _, d := range []struct {
		name, text string
		to         *time.Duration
	}{{"window", in.Window, &l.Limits.Window}, {"hold", in.Hold, &l.Limits.Hold}} {
		if *d.to, err = time.ParseDuration(d.text); err != nil {
			return l, fmt.Errorf("%s: must be a duration", d.name)
		}
	}
	if _, err := gate.NewRate(l.Algorithm, l.Limits); err != nil {
		return l, err
	}
	for i, s := range in.Slots {
		if len(s) < 2 || len(s) > 4 || s[0] >= uint32(slots) {
			return l, errors.New("slots: each must be a number below 100, triggers, mollified, given")
		}
		for len(s) < 4 {
			s = append(s, 0)
		}
		if s[2] > s[1] || s[3] > 1 {
			return l, errors.New("slots: more are mollified than triggers came, or given is not 0 or 1")
		}
		l.Slots[i] = Counts{Slot: uint8(s[0]), Triggers: s[1], Mollified: s[2], Given: s[3] == 1}
	}
	return l, nil
}

// Algorithm is the algorithm of a name.
func Algorithm(name string) (gate.Algorithm, error) {
	for _, a := range []gate.Algorithm{gate.FixedWindow, gate.GCRA} {
		if a.String() == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("%q is neither %v nor %v", name, gate.FixedWindow, gate.GCRA)
}

// Read calls each for every line of a recording. A last line without its end, as a
// crash leaves it, is left out. An error names the line.
func Read(r io.Reader, each func(Line)) error {
	text := bufio.NewReaderSize(r, longestLine)
	for n := 1; ; n++ {
		line, err := text.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("recording: line %d: is longer than %d bytes", n, longestLine)
		case err != nil:
			return fmt.Errorf("recording: line %d: %w", n, err)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		l, err := parse(line)
		if err != nil {
			return fmt.Errorf("recording: line %d: %w", n, err)
		}
		each(l)
	}
}
