// Package link carries TCP connections to a server, in weather that can be changed
// while they are used: slow, narrow, silent, torn. Tests put one between what they test
// and its store.
package link

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"
)

// Weather is what happens to the bytes on a link. The zero value is fair weather.
type Weather struct {
	// Latency delays each chunk of bytes, both ways, by itself and up to Jitter
	// more. Order is kept.
	Latency, Jitter time.Duration
	// BytesPerSecond bounds each direction of each connection; 0 is unbounded.
	BytesPerSecond int
	// CutReplies is the share of replies that are lost: the request arrives and
	// is executed, then the connection is closed in place of its reply.
	CutReplies float64
	// Requests and Replies that are not carried: the connection stays open and
	// silent, as behind a firewall that forgot it.
	HoldRequests, HoldReplies bool
	// Refuse closes what is open and what comes.
	Refuse bool
}

// Link is a TCP path to one server. Its methods are safe for concurrent use.
type Link struct {
	listener net.Listener

	mu      sync.Mutex
	target  string
	weather Weather
	changed chan struct{} // closed when the weather changes
	open    map[net.Conn]struct{}
	closed  bool
	wait    sync.WaitGroup
}

// New listens on a free loopback port and carries connections to target.
func New(target string) (*Link, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{listener: listener, target: target, changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
	l.wait.Go(l.accept)
	return l, nil
}

// To puts a link in front of the server of a URL, and returns the URL of the link.
// The error does not hold the URL.
func To(server string) (l *Link, through string, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, "", errors.New("link: not a URL")
	}
	if l, err = New(u.Host); err != nil {
		return nil, "", err
	}
	u.Host = l.Addr()
	return l, u.String(), nil
}

// Addr is where the link listens, host:port.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// SetWeather changes what happens to the bytes from now on.
func (l *Link) SetWeather(w Weather) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.weather = w
	close(l.changed)
	l.changed = make(chan struct{})
	if w.Refuse {
		l.cutLocked()
	}
}

// Retarget sends new connections elsewhere and closes the open ones, as a
// failover does that moves an address.
func (l *Link) Retarget(target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
	l.cutLocked()
}

// Cut closes every open connection.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutLocked()
}

func (l *Link) cutLocked() {
	for c := range l.open {
		_ = c.Close() // its copier finds out
	}
}

// Close ends the link and returns when nothing of it runs any more.
func (l *Link) Close() error {
	l.mu.Lock()
	l.closed = true
	err := l.listener.Close()
	l.cutLocked()
	l.mu.Unlock()
	l.wait.Wait()
	return err
}

func (l *Link) now() (w Weather, changed <-chan struct{}, target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.weather, l.changed, l.target
}

func (l *Link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		l.wait.Go(func() { l.carry(conn) })
	}
}

func (l *Link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.weather.Refuse {
		return false
	}
	l.open[c] = struct{}{}
	return true
}

func (l *Link) drop(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
	_ = c.Close() // it may be closed already
}

func (l *Link) carry(near net.Conn) {
	if !l.keep(near) {
		_ = near.Close()
		return
	}
	defer l.drop(near)
	_, _, target := l.now()
	far, err := net.DialTimeout("tcp4", target, time.Second)
	if err != nil {
		return
	}
	if !l.keep(far) {
		_ = far.Close()
		return
	}
	defer l.drop(far)
	ctx, end := context.WithCancel(context.Background())
	defer end()
	var both sync.WaitGroup
	for _, way := range []struct {
		from, to net.Conn
		replies  bool
	}{{near, far, false}, {far, near, true}} {
		chunks := make(chan chunk, 256)
		both.Go(func() {
			defer end()
			defer close(chunks)
			l.read(ctx, way.from, chunks)
		})
		both.Go(func() {
			defer end()
			l.write(ctx, way.to, way.replies, chunks)
		})
	}
	stop := context.AfterFunc(ctx, func() {
		_ = near.Close() // the copiers end
		_ = far.Close()
	})
	both.Wait()
	stop()
}

// chunk is bytes under way, and when they may arrive.
type chunk struct {
	bytes []byte
	due   time.Time
}

func (l *Link) read(ctx context.Context, from net.Conn, chunks chan<- chunk) {
	for {
		buffer := make([]byte, 16<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			w, _, _ := l.now()
			due := time.Now().Add(w.Latency)
			if w.Jitter > 0 {
				due = due.Add(rand.N(w.Jitter))
			}
			select {
			case chunks <- chunk{buffer[:n], due}:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *Link) write(ctx context.Context, to io.Writer, replies bool, chunks <-chan chunk) {
	for c := range chunks {
		w, changed, _ := l.now()
		for (replies && w.HoldReplies) || (!replies && w.HoldRequests) {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			w, changed, _ = l.now()
		}
		if replies && w.CutReplies > 0 && rand.Float64() < w.CutReplies {
			return
		}
		pause := time.Until(c.due)
		if w.BytesPerSecond > 0 {
			pause += time.Duration(len(c.bytes)) * time.Second / time.Duration(w.BytesPerSecond)
		}
		if pause > 0 && wait(ctx, pause) != nil {
			return
		}
		if _, err := to.Write(c.bytes); err != nil {
			return
		}
	}
}

// wait returns nil after d, or ctx's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
