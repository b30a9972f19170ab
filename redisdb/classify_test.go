package redisdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

type answer string

func (e answer) Error() string { return string(e) }
func (answer) RedisError()     {}

// What is an outage, what may have been executed, and what is never printed.
func TestClassify(t *testing.T) {
	t.Parallel()
	const host = "redis.internal"
	read := &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 6379}, Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	slow := &net.OpError{Op: "read", Net: "tcp", Addr: read.Addr, Err: os.ErrDeadlineExceeded}
	for _, c := range []struct {
		err           error
		unknown, down bool
	}{
		{context.Canceled, true, false},
		{context.DeadlineExceeded, true, true},
		{slow, true, true},
		{read, true, true},
		{io.EOF, true, true},
		{fmt.Errorf("to %s: %w", host, errors.New("odd")), true, true},
		{redis.ErrClosed, false, false},
		{redis.ErrPoolTimeout, false, true},
		{&dialError{dialReason(&net.DNSError{Name: host, Err: "no such host"})}, false, true},
		{&dialError{dialReason(&net.OpError{Op: "dial", Addr: read.Addr, Err: syscall.ECONNREFUSED})}, false, true},
		{&dialError{dialReason(slow)}, false, true},
		{&dialError{dialReason(errors.New(host))}, false, true},
		{answer("LOADING Redis is loading the dataset in memory"), false, true},
		{answer("READONLY You can not run script with write flag on readonly replica."), false, true},
		{answer("CLUSTERDOWN The cluster is down"), false, true},
		{answer("CLUSTERDOWN Hash slot not served"), false, false},
		{answer("MISCONF Errors writing to the AOF file"), false, true},
		{answer("BUSY Redis is busy running a script."), false, true},
		{answer("OOM allow-oom flag is not set on the script"), false, true},
		{answer("NOREPLICAS Not enough good replicas to write."), false, true},
		{answer("MOVED 3999 " + host + ":6381"), false, false}, // the server that says so is well
		{answer("ASK 3999 " + host + ":6381"), false, false},
		{answer("TRYAGAIN Multiple keys request during rehashing of slot"), false, false},
		{answer("NOAUTH Authentication required."), false, true},
		{answer("ERR max number of clients reached"), false, true},
		{answer("WRONGTYPE Operation against a key holding the wrong kind of value"), false, false},
		{answer("ERR user_script:9: attempt to perform arithmetic on a nil value"), false, false},
	} {
		got := classify(c.err)
		if got.unknown != c.unknown || got.down != c.down {
			t.Errorf("%v: unknown %t, down %t", c.err, got.unknown, got.down)
		}
		for _, secret := range []string{host, "10.1.2.3", "6379", "6381"} {
			if strings.Contains(got.Error(), secret) {
				t.Errorf("%v: printed as %q", c.err, got)
			}
		}
		if outer := unavailable(got, 0); OutcomeUnknown(outer) != c.unknown {
			t.Errorf("%v: OutcomeUnknown %t", outer, !c.unknown)
		}
	}
	if OutcomeUnknown(nil) || OutcomeUnknown(io.EOF) {
		t.Error("errors of others are not ours to judge")
	}
}
