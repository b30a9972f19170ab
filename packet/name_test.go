package packet_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/packet"
	"github.com/e0ff5a15/mollifier/run"
)

func TestValidName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{name, "a", "run_1/attempt 2/output.json", "ü/ö", "...", "a..b", strings.Repeat("x", packet.MaxName)} {
		if !packet.ValidName(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\\b", "a\x00b", "a\nb", "\xff", strings.Repeat("x", packet.MaxName+1)} {
		if packet.ValidName(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
	d := openDisk(t, t.TempDir(), nil)
	for _, bad := range [][2]string{{"env_1", "../x"}, {"..", name}, {"", name}, {"a/b", name}} {
		if _, err := d.Upload(t.Context(), "", bad[0], bad[1]); !errors.Is(err, run.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// No name that is taken leads out of its environment, and none comes back other
// than it was.
func FuzzName(f *testing.F) {
	for _, s := range []string{name, "..", "a/../../b", "/etc/passwd", "%2e%2e/x", "a\\..\\b", "ü"} {
		f.Add(s)
	}
	d := openDisk(f, f.TempDir(), nil)
	f.Fuzz(func(t *testing.T, text string) {
		d.t = t
		err := d.put("env_1", text, "text/plain", text)
		if valid := packet.ValidName(text); valid != (err == nil) {
			t.Fatalf("%q: valid %v, %v", text, valid, err)
		}
		if err != nil {
			return
		}
		if !filepath.IsLocal(text) {
			t.Errorf("%q leads out", text)
		}
		if _, body, err := d.get("env_1", text); err != nil || body != text {
			t.Errorf("%q: %q, %v", text, body, err)
		}
	})
}
