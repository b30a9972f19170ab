package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
)

// serve runs a real server and returns its address.
func serve(t *testing.T, w *wire, limits httpapi.Limits) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httpapi.NewServer(w.handler, limits, slog.New(slog.NewTextHandler(w.log, nil)))
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func head(path, headers string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + prodKey + "\r\nContent-Type: application/json\r\n" + headers + "\r\n"
}

func readAnswer(t *testing.T, c net.Conn) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	checkAnswer(t, res, body)
	return res, string(body)
}

func TestServerLimits(t *testing.T) {
	t.Parallel()
	s := httpapi.NewServer(http.NotFoundHandler(), httpapi.Limits{}, nil)
	if s.ReadHeaderTimeout != 5*time.Second || s.ReadTimeout != 15*time.Second || s.WriteTimeout != 30*time.Second ||
		s.IdleTimeout != 60*time.Second || s.MaxHeaderBytes != 16<<10 || s.ErrorLog == nil {
		t.Errorf("%+v", s)
	}
	if s = httpapi.NewServer(http.NotFoundHandler(), httpapi.AdminLimits(), nil); s.WriteTimeout > 0 || s.ReadHeaderTimeout == 0 {
		t.Errorf("admin: %+v", s)
	}
}

// The oversize body is sent whole before the answer is read, as clients do: if
// the server stopped reading, they would see a reset and not the 413.
func TestOversizeBodyIsDrained(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, newWire(t), httpapi.Limits{}))
	const size = 6 << 20
	if _, err := io.WriteString(c, head(triggerPath, fmt.Sprintf("Content-Length: %d\r\n", size))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(bytes.Repeat([]byte("x"), size)); err != nil {
		t.Fatal(err)
	}
	if res, body := readAnswer(t, c); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// Bodies that have arrived in part are held in memory too: what goes over the
// bound is refused, one body alone never is, and the bound is free again after.
func TestBodiesThatArriveAreBounded(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(c *httpapi.Config) { c.MaxBytes = 1 << 20 })
	body := func(n int) string { return `{"payload":"` + strings.Repeat("x", n) + `"}` }
	large := request(http.MethodPost, triggerPath, prodKey, body(2<<20))
	pipe, rest := io.Pipe()
	whole, err := io.ReadAll(large.Body)
	if err != nil {
		t.Fatal(err)
	}
	large.Body = pipe
	answered := make(chan *httptest.ResponseRecorder)
	go func() { answered <- w.do(large) }()
	// A second write is taken only after the first has been counted.
	for _, part := range [][]byte{whole[:len(whole)-2], whole[len(whole)-2 : len(whole)-1]} {
		if _, err := rest.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	small := func() *http.Request { return request(http.MethodPost, triggerPath, prodKey, body(10)) }
	refused := w.refused(small(), http.StatusServiceUnavailable, "Too many triggers are waiting")
	if refused.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if _, err := rest.Write(whole[len(whole)-1:]); err != nil {
		t.Fatal(err)
	}
	if err := rest.Close(); err != nil {
		t.Fatal(err)
	}
	if rec := <-answered; rec.Code != http.StatusOK {
		t.Errorf("a body alone: %d %s", rec.Code, rec.Body)
	}
	if rec := w.do(small()); rec.Code != http.StatusOK {
		t.Errorf("afterwards: %d %s", rec.Code, rec.Body)
	}
}

// firstRead is a body that notes how much room it was first read into.
type firstRead struct {
	io.Reader
	room int
}

func (f *firstRead) Read(p []byte) (int, error) {
	if f.room == 0 {
		f.room = len(p)
	}
	return f.Reader.Read(p)
}

// Memory for a body comes as it arrives: thousands may be announced that never do.
func TestAnnouncedBodiesCostNothing(t *testing.T) {
	t.Parallel()
	r := request(http.MethodPost, triggerPath, prodKey, `{"payload":"`+strings.Repeat("x", 2<<20)+`"}`)
	body := &firstRead{Reader: r.Body}
	r.Body = io.NopCloser(body)
	if rec := newWire(t).do(r); rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if body.room == 0 || body.room > 8<<10 {
		t.Errorf("room for %d bytes before the first came", body.room)
	}
}

// A trigger that there is no place for is refused before its body is read.
func TestFullBeforeTheBody(t *testing.T) {
	t.Parallel()
	r := request(http.MethodPost, triggerPath, prodKey, `{}`)
	asked := ""
	w := newWire(t, func(c *httpapi.Config) {
		c.Full = func(environment string) error {
			asked = environment
			return &run.RefusedError{Reason: run.ErrOverloaded, Part: "shard", RetryAfter: time.Second}
		}
	})
	w.refused(r, http.StatusServiceUnavailable, "Too many triggers are waiting")
	if asked == "" {
		t.Error("nobody was asked")
	}
}

func TestChunkedBodyIsRefused(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, newWire(t), httpapi.Limits{}))
	if _, err := io.WriteString(c, head(triggerPath, "Transfer-Encoding: chunked\r\n")+"2\r\n{}\r\n0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if res, body := readAnswer(t, c); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// A client that asks before it sends is told at once, not invited.
func TestExpectContinueIsAnsweredBeforeTheBody(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, newWire(t), httpapi.Limits{}))
	if _, err := io.WriteString(c, head(triggerPath, "Content-Length: 99999999\r\nExpect: 100-continue\r\n")); err != nil {
		t.Fatal(err)
	}
	if res, body := readAnswer(t, c); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, newWire(t), httpapi.Limits{ReadTimeout: 200 * time.Millisecond}))
	if _, err := io.WriteString(c, head(triggerPath, "Content-Length: 100\r\n")+`{"payload":`); err != nil {
		t.Fatal(err)
	}
	if res, body := readAnswer(t, c); res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestShortBody(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	c := dial(t, serve(t, w, httpapi.Limits{}))
	if _, err := io.WriteString(c, head(triggerPath, "Content-Length: 100\r\n")+`{}`); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if res, body := readAnswer(t, c); res.StatusCode < 400 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if len(w.engine.triggers) != 0 {
		t.Error("half a body was triggered")
	}
}

func TestLongHeader(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, newWire(t), httpapi.Limits{}))
	if _, err := io.WriteString(c, head(triggerPath, "X-Long: "+strings.Repeat("x", 32<<10)+"\r\nContent-Length: 2\r\n")+"{}"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestConnectionIsKept(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	c := dial(t, serve(t, w, httpapi.Limits{}))
	in := bufio.NewReader(c)
	for range 3 {
		if _, err := io.WriteString(c, head("/api/v1/tasks/folder%2Fmy%20task/trigger", "Content-Length: 2\r\n")+"{}"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		checkAnswer(t, res, body)
		if res.StatusCode != 200 || res.Close {
			t.Errorf("%d %s", res.StatusCode, body)
		}
	}
	if got := w.engine.triggers; len(got) != 3 || got[2].Task != "folder/my task" {
		t.Errorf("%+v", got)
	}
}

func TestServerLogHasNoAddresses(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := httpapi.NewServer(http.NotFoundHandler(), httpapi.Limits{}, slog.New(slog.NewTextHandler(&out, nil)))
	s.ErrorLog.Print("http: TLS handshake error from 203.0.113.9:4711: EOF")
	s.ErrorLog.Print("http: panic serving [2001:db8::7]:4711: payload canary\ngoroutine 1")
	s.ErrorLog.Print("http: Accept error: accept tcp db.internal:80: too many open files; retrying in 5ms")
	for _, leak := range []string{"203.0.113.9", "2001:db8", "canary", "db.internal", "4711"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q in %s", leak, &out)
		}
	}
	if !strings.Contains(out.String(), "too many open files") {
		t.Errorf("the reason is lost: %s", &out)
	}
}
