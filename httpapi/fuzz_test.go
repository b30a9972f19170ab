package httpapi

import (
	"bytes"
	"errors"
	"regexp"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

var durationGrammar = regexp.MustCompile(`^(\d+(w|d|hr|h|m|s))+$`)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"10m": 10 * time.Minute, "2h30m": 150 * time.Minute, "1w": 168 * time.Hour, "1hr": time.Hour, "1hr5s": time.Hour + 5*time.Second,
		"0s": 0, "007d": 168 * time.Hour, "5s5s": 10 * time.Second, "15250w": 15250 * 168 * time.Hour,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "10", "m", "10 m", "-1m", "+1m", "1.5h", "1h ", "1ms", "1H", "15251w", "9223372037s", "99999999999999999999s", "1y", "10m10", string(bytes.Repeat([]byte("1s"), 51))} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "", -1: "", 1: "1s", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 168*time.Hour + time.Second: "1w1s", 24 * time.Hour: "1d",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestParseDelay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"10m":                       now.Add(10 * time.Minute),
		"0s":                        {},
		"2020-01-01":                {},
		"2026-03-04T05:06:07Z":      {},
		"2030-01-02":                time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC),
		"2030-01-02T03:04":          time.Date(2030, 1, 2, 3, 4, 0, 0, time.UTC),
		"2030-01-02T03:04:05.678Z":  time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC),
		"2030-01-02T03:04:05+02:00": time.Date(2030, 1, 2, 1, 4, 5, 0, time.UTC),
	} {
		if got, err := parseDelay(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "soon", "1893456000", "2030-13-01", "2030-01-02 03:04:05", "Jan 1 2030"} {
		if got, err := parseDelay(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// The parser accepts exactly the grammar, as far as a Duration can count.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"10m", "2h30m", "1w2d3hr4h5m6s", "", "hr", "9223372036s", "1m2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err == nil && (d < 0 || len(text) > maxDurationText || !durationGrammar.MatchString(text)) {
			t.Fatalf("%q gave %v", text, d)
		}
		if err != nil && len(text) <= 5 && durationGrammar.MatchString(text) { // too short to overflow
			t.Fatalf("%q refused", text)
		}
		if err == nil && d > 0 {
			if again, err := parseDuration(formatDuration(d)); err != nil || again != d {
				t.Fatalf("%q: %v, written %q, read %v, %v", text, d, formatDuration(d), again, err)
			}
		}
		_, _ = parseDelay(text, time.Unix(0, 0))
	})
}

// Whatever arrives, the decoder gives a trigger or names a field; and what it
// keeps of a payload is shown as the same JSON again.
func FuzzTriggerBody(f *testing.F) {
	for _, s := range []string{
		`{"payload":{"a":[1,2,null]},"options":{"tags":"x","ttl":5,"concurrencyKey":1e2}}`,
		`{"payload":"{\"json\":1}","options":{"payloadType":"application/super+json"}}`,
		`{"payload":"t","options":{"payloadType":"text/plain","delay":"10m","debounce":{"key":"k","delay":"1s"}}}`,
		`{"options":null}`, `{"a":1,"a":2}`, `{"options":{"idempotencyKey":"\ud800"}}`, "\xff", `[`, `{"options":{"gates":[{"queue":1}]}}`,
		`{"payload":1e400,"options":{"payloadSize":1e400}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		body, err := decodeBody[triggerBody](raw)
		tr := run.Trigger{Organisation: "o", Environment: "e", Task: "t"}
		if err == nil {
			err = body.fill(&tr, tenant.Prod, time.Unix(1, 0))
		}
		if err == nil {
			err = tr.Validate()
		}
		var invalid *run.InvalidError
		if err != nil {
			if !errors.As(err, &invalid) || invalid.Field == "" || invalid.Rule == "" {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if !utf8.Valid(raw) {
			t.Fatalf("invalid UTF-8 was accepted: %q", raw)
		}
		shown := shownPayload(tr.PayloadType, tr.Payload)
		if shown != nil && !shown.IsValid() {
			t.Fatalf("%q is shown as %q", tr.Payload, shown)
		}
		if tr.PayloadType == "" && tr.Payload != nil && !bytes.Equal(shown, tr.Payload) {
			t.Fatalf("%q is shown as %q", tr.Payload, shown)
		}
	})
}

// Whatever a stream of items holds, each line becomes an item of the batch, is a
// repeat, or is refused by name; no place is given twice.
func FuzzBatchItems(f *testing.F) {
	for _, s := range []string{
		`{"index":0,"task":"t","payload":"{}"}` + "\n" + `{"index":0,"task":"t"}`, `{"index":1e400}`, "\n\r\n", `{"task":"t","index":1,"options":{"delay":"10m"}}`,
		`{"index":0,"task":"t","options":{"parentRunId":"run_x"}}`, "[]\n", `{"index":-1,"task":"t"}`, `{"index":0,"task":`, "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := intake{api: &api{Config{Now: func() time.Time { return time.Unix(1, 0) }}}, call: &call{}, seen: make([]bool, 2)}
		s.origin, s.header.ID = run.Trigger{Organisation: "o", Environment: "e"}, "batch_1"
		places := map[int]bool{}
		for n, line := range bytes.Split(raw, []byte{'\n'}) {
			for _, size := range []int64{int64(len(line)), maxBody + 1} {
				tr, ok, err := s.item(line, size, n)
				var invalid *run.InvalidError
				switch {
				case err != nil && (!errors.As(err, &invalid) || invalid.Field == "" || invalid.Rule == ""):
					t.Fatalf("%q: %v", line, err)
				case err != nil || !ok:
				case tr.Validate() != nil || places[tr.BatchItem.Index] || tr.BatchItem.Batch != "batch_1" || tr.BatchItem.Index > 1:
					t.Fatalf("%q: %+v", line, tr)
				default:
					places[tr.BatchItem.Index] = true
				}
			}
		}
	})
}

func FuzzFinishBody(f *testing.F) {
	for _, s := range []string{`{"status":"COMPLETED","output":{"a":1}}`, `{"status":"FAILED","error":{"message":"m"}}`, `{"status":1}`, `{"output":"x","outputType":"text/plain"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		body, err := decodeBody[finishBody](raw)
		if err == nil {
			_, err = body.finish()
		}
		var invalid *run.InvalidError
		if err != nil && !errors.As(err, &invalid) {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}

func FuzzShownPayload(f *testing.F) {
	f.Add("application/super+json", []byte(`{"meta":{},"json":{"n":12345678901234567890}}`))
	f.Add("application/json", []byte(`{"a":1,"a":2}`))
	f.Add("text/plain", []byte("\xff"))
	f.Add("application/super+json", []byte(`{"json`))
	f.Fuzz(func(t *testing.T, payloadType string, kept []byte) {
		if v := shownPayload(payloadType, kept); v != nil && !jsontext.Value(v).IsValid() {
			t.Fatalf("%q %q is shown as %q", payloadType, kept, v)
		}
	})
}
