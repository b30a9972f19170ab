package httpapi_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/httpapi"
)

// pipes is a listener whose connections are in memory: in a bubble, with the
// deadlines of a socket and a clock that costs nothing.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// inBubble serves a wire by the default limits, on the bubble's clock.
func inBubble(t *testing.T, w *wire, body func(*testing.T, *pipes)) {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := httpapi.NewServer(w.handler, httpapi.Limits{}, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	body(t, l)
	_ = server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// send writes while the server reads, and reports whether it read everything.
func send(c net.Conn, parts ...string) bool {
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			return false
		}
	}
	return true
}

// dribble sends a beginning, then a part every so often until the server hangs up,
// or only the beginning and the first part. It returns what waits for its end.
func dribble(c net.Conn, begin string, every time.Duration, part func(i int) string) (ended func()) {
	var sending sync.WaitGroup
	sending.Go(func() {
		if !send(c, begin, part(0)) || every == 0 {
			return
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 1; ; i++ {
			<-tick.C
			if !send(c, part(i)) {
				return
			}
		}
	})
	return sending.Wait
}

func oneByte(int) string { return "x" }

// Who does not finish the header of a request is hung up on after 5 seconds, and
// not kept for a byte now and then.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]time.Duration{"nothing more": 0, "a byte each second": time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t)
			inBubble(t, w, func(t *testing.T, l *pipes) {
				c := l.dial()
				begun := time.Now()
				ended := dribble(c, "POST "+triggerPath+" HTTP/1.1\r\nX-Slow: ", every, oneByte)
				if _, err := io.Copy(io.Discard, c); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if took := time.Since(begun); took != 5*time.Second {
					t.Errorf("%s: hung up after %v", name, took)
				}
				ended()
			})
			if len(w.engine.triggers) != 0 {
				t.Errorf("%s: half a header was triggered", name)
			}
		})
	}
}

// A body has 15 seconds, however it comes: then its sender is told, and hung up on.
func TestSlowBodyByDefaultLimits(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]time.Duration{"nothing more": 0, "a byte each second": time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t)
			inBubble(t, w, func(t *testing.T, l *pipes) {
				c := l.dial()
				begun := time.Now()
				ended := dribble(c, head(triggerPath, "Content-Length: 1000\r\n")+`{"payload":"`, every, oneByte)
				res, body := readAnswer(t, c)
				if took := time.Since(begun); res.StatusCode != http.StatusRequestTimeout || took != 15*time.Second {
					t.Errorf("%s: %d after %v: %s", name, res.StatusCode, took, body)
				}
				if n, _ := io.Copy(io.Discard, c); n != 0 {
					t.Errorf("%s: the connection goes on", name)
				}
				ended()
			})
			if len(w.engine.triggers) != 0 {
				t.Errorf("%s: half a body was triggered", name)
			}
		})
	}
}

// A stream of items may be slow, but not stand still: 15 seconds between two
// parts, five minutes in all. Items of a group that was not full are not in.
func TestSlowStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ every, until time.Duration }{
		"stands still": {0, 15 * time.Second},
		"never ends":   {10 * time.Second, 5 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newBatchWire(t, 1000)
			inBubble(t, w, func(t *testing.T, l *pipes) {
				conn := l.dial()
				begun := time.Now()
				ended := dribble(conn, streamHead(), c.every, func(i int) string { return chunk(item(i) + "\n") })
				res, body := readAnswer(t, conn)
				if took := time.Since(begun); res.StatusCode != http.StatusRequestTimeout || took != c.until {
					t.Errorf("%s: %d after %v: %s", name, res.StatusCode, took, body)
				}
				_ = conn.Close()
				ended()
			})
			if len(w.engine.triggers) != 0 {
				t.Errorf("%s: %d items of an open group are in", name, len(w.engine.triggers))
			}
		})
	}
}

func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

func streamHead() string {
	return strings.Replace(head(itemsPath, "Transfer-Encoding: chunked\r\n"), "application/json", "application/x-ndjson", 1)
}

// Clients keep their connections open and say nothing. Others are answered
// meanwhile, each of the idle may go on, and after a minute of its silence, not
// earlier, each is closed.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		inBubble(t, w, func(t *testing.T, l *pipes) {
			const many = 100
			ask := func(c net.Conn) {
				go send(c, head(triggerPath, "Content-Length: 2\r\n"), "{}")
				if res, body := readAnswer(t, c); res.StatusCode != http.StatusOK || res.Close {
					t.Fatalf("%d %s", res.StatusCode, body)
				}
			}
			idle := make([]net.Conn, many)
			for i := range idle {
				idle[i] = l.dial()
				ask(idle[i])
			}
			<-time.After(59 * time.Second)
			ask(l.dial())
			for _, c := range idle[:many/2] {
				ask(c)
			}
			// The silent ones go a minute after what they said, which for half of them is now.
			begun := time.Now()
			for _, half := range []struct {
				conns   []net.Conn
				silence time.Duration
			}{{idle[many/2:], time.Second}, {idle[:many/2], time.Minute}} {
				closed := make(chan time.Duration, many)
				for _, c := range half.conns {
					go func() {
						_, _ = io.Copy(io.Discard, c)
						closed <- time.Since(begun)
					}()
				}
				for range many / 2 {
					if after := <-closed; after != half.silence {
						t.Errorf("closed after %v, not %v", after, half.silence)
					}
				}
			}
		})
		if got := len(w.engine.triggers); got != 151 {
			t.Errorf("%d triggers", got)
		}
	})
}

// Two thousand sockets are open at once, as a burst of the SDK leaves them behind.
// A further client is answered, and each of them when it goes on.
func TestTwoThousandSockets(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	addr := serve(t, w, httpapi.Limits{})
	ask := func(c net.Conn) bool {
		return send(c, head(triggerPath, "Content-Length: 2\r\n"), "{}") && bytes.Contains(answerOf(c), []byte(`"isCached":false`))
	}
	idle := make([]net.Conn, 2000)
	for i := range idle {
		if idle[i] = dial(t, addr); !ask(idle[i]) {
			t.Fatalf("socket %d has no answer", i)
		}
	}
	if !ask(dial(t, addr)) {
		t.Error("one more has no answer")
	}
	for i, c := range idle {
		if !ask(c) {
			t.Fatalf("socket %d does not go on", i)
		}
	}
	if got := len(w.engine.triggers); got != 4001 {
		t.Errorf("%d triggers", got)
	}
}

// answerOf reads the body of an answer that has nothing behind it.
func answerOf(c net.Conn) []byte {
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil
	}
	body, _ := io.ReadAll(res.Body)
	return body
}
