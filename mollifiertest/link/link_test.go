package link_test

import (
	"bufio"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/e0ff5a15/mollifier/mollifiertest/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers every line, and tells of each.
func echo(t *testing.T) (address string, heard <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	lines := make(chan string, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for s := bufio.NewScanner(c); s.Scan(); {
					lines <- s.Text()
					io.WriteString(c, s.Text()+"\n")
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

func open(t *testing.T, target string) *link.Link {
	t.Helper()
	l, err := link.New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func dial(t *testing.T, l *link.Link) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp4", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

// A link carries bytes both ways; a cut reply leaves an executed request and a
// closed connection; what is held arrives when the weather changes.
func TestLink(t *testing.T) {
	t.Parallel()
	target, heard := echo(t)
	l := open(t, target)
	c, r := dial(t, l)
	io.WriteString(c, "fair\n")
	if got, err := r.ReadString('\n'); got != "fair\n" || err != nil || <-heard != "fair" {
		t.Fatalf("%q, %v", got, err)
	}

	l.SetWeather(link.Weather{CutReplies: 1})
	io.WriteString(c, "cut\n")
	if _, err := r.ReadString('\n'); err == nil || <-heard != "cut" {
		t.Fatal("a reply that is cut arrived, or its request did not")
	}

	l.SetWeather(link.Weather{HoldReplies: true})
	c, r = dial(t, l)
	io.WriteString(c, "held\n")
	if <-heard != "held" {
		t.Fatal("the request of a held reply did not arrive")
	}
	l.SetWeather(link.Weather{})
	if got, err := r.ReadString('\n'); got != "held\n" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}

	l.SetWeather(link.Weather{Refuse: true})
	if _, err := r.ReadString('\n'); err == nil {
		t.Fatal("an open connection survived")
	}
	_, r = dial(t, l)
	if _, err := r.ReadString('\n'); err == nil {
		t.Fatal("a new connection was carried")
	}

	l.SetWeather(link.Weather{})
	other, also := echo(t)
	l.Retarget(other)
	c, r = dial(t, l)
	io.WriteString(c, "moved\n")
	if got, err := r.ReadString('\n'); got != "moved\n" || err != nil || <-also != "moved" {
		t.Fatalf("%q, %v", got, err)
	}
}
