package packet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/e0ff5a15/mollifier/packet"
	"github.com/e0ff5a15/mollifier/run"
)

const name = "trigger/packet_123456789abcdefghijkm/payload.json"

type disk struct {
	*packet.Disk
	t   testing.TB
	dir string
	now time.Time
}

func openDisk(t testing.TB, dir string, change func(*packet.DiskConfig)) *disk {
	t.Helper()
	d := &disk{t: t, dir: dir, now: time.Now()}
	cfg := packet.DiskConfig{Dir: dir, Secret: []byte("0123456789abcdef"), Now: func() time.Time { return d.now }}
	if change != nil {
		change(&cfg)
	}
	var err error
	if d.Disk, err = packet.OpenDisk(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// parts takes a signed URL apart as a server does.
func parts(t testing.TB, signed string) (environment, name string, q url.Values) {
	t.Helper()
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	segments := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/packets/"), "/")
	if len(segments) != 2 || u.Host != "host:1" {
		t.Fatalf("URL %s", signed)
	}
	if name, err = url.PathUnescape(segments[1]); err != nil {
		t.Fatal(err)
	}
	return segments[0], name, u.Query()
}

func (d *disk) put(environment, name, kind, body string) error {
	d.t.Helper()
	signed, err := d.Upload(d.t.Context(), "http://host:1", environment, name)
	if err != nil {
		return err
	}
	e, n, q := parts(d.t, signed)
	return d.Store(e, n, q, kind, int64(len(body)), strings.NewReader(body))
}

func (d *disk) get(environment, name string) (kind, body string, err error) {
	d.t.Helper()
	signed, err := d.Download(d.t.Context(), "http://host:1", environment, name)
	if err != nil {
		return "", "", err
	}
	e, n, q := parts(d.t, signed)
	f, err := d.Load(e, n, q)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if int64(len(b)) != f.Size {
		d.t.Errorf("%d bytes of %d", len(b), f.Size)
	}
	return f.Type, string(b), err
}

func (d *disk) files() (names []string) {
	d.t.Helper()
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return names
}

func TestPutAndGet(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "packets")
	d := openDisk(t, dir, nil)
	large := strings.Repeat("\x00\n{}", 1<<18)
	for _, c := range [][3]string{{name, "application/super+json", large}, {"a", "", ""}, {"ünï/cödé x", "text/plain", "\n"}, {name, "text/plain", "again"}} {
		if err := d.put("env_1", c[0], c[1], c[2]); err != nil {
			t.Fatal(err)
		}
		if kind, body, err := d.get("env_1", c[0]); err != nil || kind != c[1] || body != c[2] {
			t.Errorf("%s: %q, %d bytes, %v", c[0], kind, len(body), err)
		}
	}
	// Another environment has none of it; a later start has all.
	if _, _, err := d.get("env_2", name); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("of another environment: %v", err)
	}
	if _, body, err := openDisk(t, dir, nil).get("env_1", name); err != nil || body != "again" {
		t.Errorf("after a restart: %q, %v", body, err)
	}
	if got := d.files(); len(got) != 3 {
		t.Errorf("files %v", got)
	}
	for _, path := range d.files() {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// A URL is for one method on one packet of one environment, for a while, and for
// nodes with the same secret.
func TestURLs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := openDisk(t, dir, nil)
	if err := d.put("env_1", name, "text/plain", "x"); err != nil {
		t.Fatal(err)
	}
	put, err := d.Upload(t.Context(), "http://host:1", "env_1", name)
	if err != nil {
		t.Fatal(err)
	}
	get, err := d.Download(t.Context(), "http://host:1", "env_1", name)
	if err != nil {
		t.Fatal(err)
	}
	_, _, pq := parts(t, put)
	_, _, gq := parts(t, get)
	store := func(d *disk, e, n string, q url.Values) error {
		return d.Store(e, n, q, "", 1, strings.NewReader("y"))
	}
	with := func(q url.Values, name, value string) url.Values {
		out := url.Values{}
		for k, v := range q {
			out[k] = v
		}
		out.Set(name, value)
		return out
	}
	for what, err := range map[string]error{
		"the other method":  store(d, "env_1", name, gq),
		"another packet":    store(d, "env_1", "other", pq),
		"another env":       store(d, "env_2", name, pq),
		"a later end":       store(d, "env_1", name, with(pq, "expires", "99999999999")),
		"an end in words":   store(d, "env_1", name, with(pq, "expires", "+"+pq.Get("expires"))),
		"no signature":      store(d, "env_1", name, with(pq, "signature", "")),
		"a name that is no": store(d, "env_1", "../x", pq),
		"nothing":           store(d, "env_1", name, nil),
		"reading with put":  func() error { _, err := d.Load("env_1", name, pq); return err }(),
		"another secret":    store(openDisk(t, t.TempDir(), func(c *packet.DiskConfig) { c.Secret = []byte("fedcba9876543210") }), "env_1", name, pq),
	} {
		if !errors.Is(err, packet.ErrURL) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := store(openDisk(t, dir, nil), "env_1", name, pq); err != nil {
		t.Errorf("another node on the folder: %v", err)
	}
	d.now = d.now.Add(packet.UploadLife)
	if err := store(d, "env_1", name, pq); !errors.Is(err, packet.ErrURL) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := d.Load("env_1", name, gq); err != nil {
		t.Errorf("a URL to read: %v", err)
	}
	d.now = d.now.Add(packet.DownloadLife)
	if _, err := d.Load("env_1", name, gq); !errors.Is(err, packet.ErrURL) {
		t.Errorf("after its end: %v", err)
	}
}

// What does not come whole is not there, and takes no room.
func TestFailedUploads(t *testing.T) {
	t.Parallel()
	d := openDisk(t, t.TempDir(), func(c *packet.DiskConfig) { c.Quota = 1000 })
	signed, err := d.Upload(t.Context(), "http://host:1", "env_1", name)
	if err != nil {
		t.Fatal(err)
	}
	e, n, q := parts(t, signed)
	broken := errors.New("reset")
	for range 20 { // more than the quota, if any of it counted
		if err := d.Store(e, n, q, "", 100, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("short: %v", err)
		}
		if err := d.Store(e, n, q, "", 100, io.MultiReader(strings.NewReader("cut"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Fatalf("cut: %v", err)
		}
	}
	for _, size := range []int64{-1, packet.MaxSize + 1} {
		var invalid *run.InvalidError
		if err := d.Store(e, n, q, "", size, strings.NewReader("")); !errors.As(err, &invalid) || invalid.Fault != run.TooLarge {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if files := d.files(); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
	if err := d.Store(e, n, q, "", 2, strings.NewReader("more than said")); err != nil {
		t.Error(err)
	}
	if _, body, err := d.get("env_1", name); err != nil || body != "mo" {
		t.Errorf("%q, %v", body, err)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	limit := func(c *packet.DiskConfig) { c.Quota = 2000 }
	d := openDisk(t, dir, limit)
	body := strings.Repeat("x", 900)
	for _, n := range []string{"a", "b", "a", "b"} { // replacing takes no room
		if n == "a" && len(d.files()) == 2 {
			break // but needs some meanwhile
		}
		if err := d.put("env_1", n, "", body); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := d.put("env_1", "c", "", body); !errors.Is(err, run.ErrQuota) {
			t.Errorf("over the quota: %v", err)
		}
		if err := d.put("env_2", "c", "", body); err != nil {
			t.Errorf("another environment: %v", err)
		}
		d = openDisk(t, dir, limit) // what is there is counted
	}
	if err := d.put("env_1", "small", "", "x"); err != nil {
		t.Errorf("what still fits: %v", err)
	}
	if err := d.put("env_1", "rest", "", strings.Repeat("x", 50)); err != nil {
		t.Fatal(err)
	}
	d = openDisk(t, dir, func(c *packet.DiskConfig) { c.Quota = 500 })
	if _, err := d.Upload(t.Context(), "http://host:1", "env_1", "more"); !errors.Is(err, run.ErrQuota) {
		t.Errorf("a full environment gets no URL: %v", err)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	d := openDisk(t, t.TempDir(), func(c *packet.DiskConfig) { c.Keep = 24 * time.Hour })
	if err := d.put("env_1", "old", "", "x"); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(filepath.Dir(d.files()[0]), ".upload-LEFT") // by a node that was killed
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after          time.Duration
		removed, files int
	}{{0, 0, 2}, {2 * time.Hour, 0, 1}, {25 * time.Hour, 1, 0}} {
		d.now = time.Now().Add(c.after)
		if n, err := d.Sweep(t.Context()); err != nil || n != c.removed || len(d.files()) != c.files {
			t.Errorf("after %v: %d removed, %v, left %v", c.after, n, err, d.files())
		}
	}
	if _, _, err := d.get("env_1", "old"); !errors.Is(err, run.ErrNotFound) {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.put("env_1", "x", "", "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Sweep(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Uploads of one name at once: each reader finds one of them whole.
func TestUploadsOfOneName(t *testing.T) {
	t.Parallel()
	d := openDisk(t, t.TempDir(), nil)
	var all sync.WaitGroup
	for i := range 16 {
		body := strings.Repeat(string(rune('a'+i)), 100_000+i)
		all.Go(func() {
			if err := d.put("env_1", name, "", body); err != nil {
				t.Error(err)
			}
			_, got, err := d.get("env_1", name)
			if err != nil || len(bytes.Trim([]byte(got), got[:1])) != 0 || len(got) != 100_000+int(got[0]-'a') {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
	if files := d.files(); len(files) != 1 {
		t.Errorf("left %v", files)
	}
}
