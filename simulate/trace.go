package simulate

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Trace reads triggers that were recorded, in the order of time, one a line: JSON
// objects if the first character is {, otherwise CSV under a line that names the
// columns. The fields:
//
//	time         required: seconds, as a number, or a moment of RFC 3339; the first one
//	             is when the storm begins
//	environment  any text; without one, all are of the same
//	key          any text; without one, or empty, the trigger has none
//	bytes        of the payload, 0 to 3 MiB; without one, the given number
//
// Other fields are ignored. An error names the line and the field.
func Trace(r io.Reader, payload int) iter.Seq2[Trigger, error] {
	return func(yield func(Trigger, error) bool) {
		text := bufio.NewReaderSize(r, 1<<16)
		read := csvLines
		if first, err := text.Peek(1); err == nil && first[0] == '{' {
			read = jsonLines
		}
		p := parser{payload: payload, seed: maphash.MakeSeed()}
		err := read(text, func(line int, f fields) bool {
			t, err := p.trigger(f)
			if err != nil {
				err = fmt.Errorf("simulate: line %d: %w", line, err)
			}
			return yield(t, err) && err == nil
		})
		if err != nil {
			yield(Trigger{}, fmt.Errorf("simulate: %w", err))
		}
	}
}

// fields are what a line says, "" where it says nothing.
type fields struct{ time, environment, key, bytes string }

func csvLines(text io.Reader, each func(line int, f fields) bool) error {
	r := csv.NewReader(text)
	r.ReuseRecord = true
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("line 1: the trace is empty")
	} else if err != nil {
		return err
	}
	column := map[string]int{}
	for i, name := range head {
		column[strings.ToLower(strings.TrimSpace(name))] = i
	}
	if _, ok := column["time"]; !ok {
		return errors.New("line 1: no column is called time: the first line names the columns time, environment, key, bytes")
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		of := func(name string) string {
			if i, ok := column[name]; ok {
				return strings.Clone(record[i])
			}
			return ""
		}
		line, _ := r.FieldPos(0)
		if !each(line, fields{of("time"), of("environment"), of("key"), of("bytes")}) {
			return nil
		}
	}
}

// longestLine of a trace of JSON objects.
const longestLine = 1 << 20

func jsonLines(text io.Reader, each func(line int, f fields) bool) error {
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, longestLine)
	n := 0
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var o struct {
			Time        any         `json:"time"`
			Environment string      `json:"environment"`
			Key         string      `json:"key"`
			Bytes       json.Number `json:"bytes"`
		}
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.UseNumber()
		err := d.Decode(&o)
		var wrong *json.UnmarshalTypeError
		switch {
		case errors.As(err, &wrong):
			return fmt.Errorf("line %d: %s: must not be a JSON %s", n, wrong.Field, wrong.Value)
		case err != nil:
			return fmt.Errorf("line %d: not a JSON object: %w", n, err)
		}
		f := fields{environment: o.Environment, key: o.Key, bytes: o.Bytes.String()}
		if o.Time != nil {
			f.time = fmt.Sprint(o.Time)
		}
		if !each(n, f) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

// parser makes triggers of lines.
type parser struct {
	payload int
	seed    maphash.Seed
	began   float64 // seconds
	begun   bool
	last    time.Duration
}

func (p *parser) trigger(f fields) (Trigger, error) {
	t := Trigger{Environment: f.environment, Payload: p.payload}
	seconds, err := moment(f.time)
	if err != nil {
		return t, err
	}
	if !p.begun {
		p.began, p.begun = seconds, true
	}
	switch since := seconds - p.began; {
	case since > longestStorm.Seconds():
		return t, errors.New("time: is more than 720h after the first")
	case since < p.last.Seconds():
		return t, errors.New("time: is before that of the line in front of it: sort the trace by time")
	default:
		t.At = max(time.Duration(since*float64(time.Second)), p.last)
	}
	p.last = t.At
	if f.bytes != "" {
		if t.Payload, err = strconv.Atoi(strings.TrimSpace(f.bytes)); err != nil || t.Payload < 0 || t.Payload > run.MaxPayload {
			return t, fmt.Errorf("bytes: must be a whole number, 0 to %d", run.MaxPayload)
		}
	}
	if f.key != "" {
		t.Key = max(maphash.String(p.seed, f.key), 1)
	}
	return t, nil
}

// moment is a time as a trace has it, in seconds since whenever.
func moment(text string) (float64, error) {
	text = strings.TrimSpace(text)
	if s, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(s) < 1e12 {
		return s, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return float64(at.Unix()) + float64(at.Nanosecond())/1e9, nil
	}
	return 0, errors.New("time: must be seconds or a moment like 2006-01-02T15:04:05.123Z")
}
