package runstore

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// fill sets everything that can be set to something that is not its zero value.
func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch x := v.Addr().Interface().(type) {
	case *run.ID:
		*x = mint()
		return
	case *time.Time:
		*x = time.UnixMicro(1_900_000_000_000_000 + int64(*n)).UTC()
		return
	case *time.Duration:
		*x = time.Duration(*n) * time.Minute
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text " + string(rune('a'+*n%26)) + ` "{,\}' 🙂`)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(*n%255 + 1))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	default:
		t.Fatalf("no way to fill a %s: teach this test", v.Type())
	}
}

// Every field of a trigger comes back as it was given: a field that is added to
// run.Trigger and forgotten here fails.
func TestEveryFieldComesBack(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var tr run.Trigger
	n := 0
	fill(t, reflect.ValueOf(&tr).Elem(), &n)
	tr.Environment = env
	snap := snapshot(tr)
	snap.AcceptedAt = 1_800_000_000_000_000
	s.want(Created, snap)
	r := s.one(snap.ID)
	snap.Trigger.DelayUntil = r.Trigger.DelayUntil // that of its debounce
	for i := range reflect.TypeFor[run.Trigger]().NumField() {
		name := reflect.TypeFor[run.Trigger]().Field(i).Name
		if name == "InFlight" {
			continue // it is the request's, and no part of the run
		}
		want, got := reflect.ValueOf(snap.Trigger).Field(i), reflect.ValueOf(r.Trigger).Field(i)
		if want.IsZero() {
			t.Errorf("%s was not filled", name)
		}
		if !reflect.DeepEqual(want.Interface(), got.Interface()) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if r.ID != snap.ID || r.Canonical != snap.ID || r.Status != run.Failed || r.PayloadHash != snap.PayloadHash ||
		r.RequestHash != snap.RequestHash || !r.CreatedAt.Equal(snap.AcceptedAt.Time()) ||
		!r.KeyUntil.Equal((snap.AcceptedAt + 1).Time()) { // it was born failed, which clears its key
		t.Errorf("got %+v", r)
	}
}

func TestBytesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, b := range [][]byte{nil, {}, every, []byte(`{"b":1, "a":1,"a":2}`), bytes.Repeat([]byte("x"), run.MaxPayload)} {
		snap := snapshot(run.Trigger{Payload: b, Metadata: b, Context: b})
		s.want(Created, snap)
		got := s.one(snap.ID).Trigger
		for name, c := range map[string][]byte{"payload": got.Payload, "metadata": got.Metadata, "context": got.Context} {
			if !bytes.Equal(b, c) || (b == nil) != (c == nil) {
				t.Errorf("%s of %d bytes (nil %v) came back as %d (nil %v)", name, len(b), b == nil, len(c), c == nil)
			}
		}
	}
}

func TestTagsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, tags := range [][]string{
		nil, {"a"}, {"null", "NULL", " "}, {`"`, `\`, `{a,b}`, `\"`, "a\nb", "🙂", "'", ","}, {strings.Repeat("x", 128)},
	} {
		snap := snapshot(run.Trigger{Tags: tags})
		s.want(Created, snap)
		if got := s.one(snap.ID).Trigger.Tags; !reflect.DeepEqual(got, tags) {
			t.Errorf("%q came back as %q", tags, got)
		}
	}
}

// Every statement that reads or writes a run by its id names its environment.
func TestStatementsNameTheEnvironment(t *testing.T) {
	t.Parallel()
	files, err := statements.ReadDir("sql")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 15 {
		t.Fatalf("only %d statements", len(files))
	}
	for _, f := range files {
		text := statement(strings.TrimSuffix(f.Name(), ".sql"))
		if !strings.HasPrefix(text, "-- ") {
			t.Errorf("%s does not say what it does", f.Name())
		}
		var sql []string
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, "--")
			sql = append(sql, line)
		}
		body := strings.Join(strings.Fields(strings.Join(sql, " ")), " ")
		// Every comparison of an id follows one of an environment, in the same clause.
		for at := range body {
			rest := body[at:]
			if !strings.HasPrefix(rest, ".id = ") {
				continue
			}
			clause := body[:at]
			for _, word := range []string{"where ", " on "} {
				if i := strings.LastIndex(clause, word); i >= 0 {
					clause = clause[i:]
				}
			}
			if !strings.Contains(clause, "env_id = ") {
				t.Errorf("%s compares an id without its environment: ...%s", f.Name(), body[max(0, at-60):min(len(body), at+30)])
			}
		}
	}
}
