package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/e0ff5a15/mollifier/mollifiertest/link"
	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
	"github.com/e0ff5a15/mollifier/test/chaos/load"
)

const (
	// overloadCallers and overloadLatency make a node whose places run out before the
	// machine does, which also runs the clients and the stores: so many places, each
	// taken for some round trips.
	overloadCallers = 96
	overloadLatency = 40 * time.Millisecond
	// overloadRSS is what the node may have resident: its bounds below, some tens of KiB
	// for each connection, and the garbage of as much.
	overloadRSS = 768 << 20
	// quietRate is what the neighbour asks for, a second.
	quietRate = 20
	// slowMost is how many slow connections are opened, as far as descriptors go.
	slowMost = 10_000
)

var overloadFlags = []string{
	"-gate-threshold", "100", "-postgres-conns", "16", "-claim-ttl", claimTTL.String(), "-wait-budget", waitBudget.String(),
	"-log-format", "json", "-stop-timeout", "20s",
	"-max-callers", fmt.Sprint(overloadCallers), "-max-bytes", "67108864", "-ring-bytes", "33554432",
}

// overloading offers one node more than it can take, an environment beside it a trickle,
// and then normal load again; and holds ten thousand slow connections.
func overloading(ctx context.Context, s settings, out io.Writer) (err error) {
	dir := filepath.Join(s.dir, "overload")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir, Program: s.program, Nodes: 1, Flags: overloadFlags, AOF: s.aof})
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, c.Close()); err == nil {
			err = os.RemoveAll(dir)
		}
	}()
	node := c.Nodes[0]
	for _, l := range slices.Concat(c.Links(true), c.Links(false)) {
		l.SetWeather(link.Weather{Latency: overloadLatency / 2})
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}
	defer client.CloseIdleConnections()
	envs := node.Info().Environments
	if len(envs) < 2 {
		return errors.New("the node has no two environments")
	}
	open := func(env int, perSec float64) *load.Open {
		return &load.Open{URL: node.Info().HTTP, Key: envs[env].Key, Task: "overload", PerSec: perSec, Waiting: 4000, HTTP: client}
	}
	o := &overload{node: node, out: out}
	warm := open(0, 0).Closed(ctx, overloadCallers/2, s.overload/3)
	fmt.Fprintf(out, "%-26s %9s %9s %9s %9s %9s %9s %9s %8s\n", "", "offered/s", "accepted", "refused", "p50 ms", "p99 ms", "no: p99", "resident", "failed")
	o.line("warm", &warm, node)
	peak := open(0, 0).Closed(ctx, overloadCallers*3/4, s.overload)
	o.line("peak, closed loop", &peak, node)
	g := peak.Goodput()
	before := open(0, .8*g).Run(ctx, s.overload)
	o.line("80% of it", &before, node)
	alone := open(1, quietRate).Run(ctx, s.overload/2)
	o.line("the neighbour alone", &alone, node)

	highest := o.watch(ctx)
	var (
		wait  sync.WaitGroup
		quiet load.Seen
	)
	wait.Go(func() { quiet = open(1, quietRate).Run(ctx, s.overload) })
	storm := open(0, 10*g).Run(ctx, s.overload)
	wait.Wait()
	rss := highest()
	o.line("ten times the peak", &storm, node)
	o.line("the neighbour meanwhile", &quiet, node)
	if err := cluster.Wait(ctx, 10*time.Second); err != nil {
		return err
	}
	after := open(0, .8*g).Run(ctx, s.overload)
	o.line("80% again, 10 s later", &after, node)

	slow, err := openSlow(ctx, node)
	if err != nil {
		return err
	}
	highest = o.watch(ctx)
	beside := open(0, .4*g).Run(ctx, s.overload)
	slowRSS := highest()
	slow.close()
	o.line(fmt.Sprintf("40%%, %d slow clients", slow.n), &beside, node)

	o.held("goodput at ten times the peak is at least 90% of the peak", storm.Goodput() >= .9*g, "%.0f of %.0f/s", storm.Goodput(), g)
	o.held("nothing fails: what is not accepted is refused with 503 or 429", storm.Failed+before.Failed+after.Failed+quiet.Failed == 0, "%d", storm.Failed+before.Failed+after.Failed+quiet.Failed)
	o.held("accepted p99 is at most twice that at 80%", storm.AcceptedIn(.99) <= 2*before.AcceptedIn(.99), "%s, %s", ms(storm.AcceptedIn(.99)), ms(before.AcceptedIn(.99)))
	o.held("the neighbour gets 95% of its triggers through", float64(quiet.Accepted) >= .95*float64(quiet.Offered), "%d of %d", quiet.Accepted, quiet.Offered)
	o.held("its p99 is at most twice what it is alone", quiet.AcceptedIn(.99) <= 2*alone.AcceptedIn(.99), "%s, %s", ms(quiet.AcceptedIn(.99)), ms(alone.AcceptedIn(.99)))
	o.held("memory stays below its cap", rss <= overloadRSS, "%d MiB of %d", rss>>20, overloadRSS>>20)
	share := func(s *load.Seen) float64 { return float64(s.Accepted) / float64(max(1, s.Offered)) }
	o.held("ten seconds later all is as before: as many of 80% are accepted, less two in a hundred", share(&after) >= share(&before)-.02, "%.1f%%, %.1f%%", 100*share(&after), 100*share(&before))
	o.held("and as fast: p99 at most 1.5 times", after.AcceptedIn(.99) <= before.AcceptedIn(.99)*3/2, "%s, %s", ms(after.AcceptedIn(.99)), ms(before.AcceptedIn(.99)))
	o.held(fmt.Sprintf("%d slow clients fit below the cap", slow.n), slowRSS <= overloadRSS, "%d MiB of %d", slowRSS>>20, overloadRSS>>20)
	o.held("and take nobody's place: 99% of the others are accepted", float64(beside.Accepted) >= .99*float64(beside.Offered), "%d of %d", beside.Accepted, beside.Offered)
	if len(o.missed) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(o.missed, "; "))
	}
	return ctx.Err()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

// overload is the report.
type overload struct {
	node   *cluster.Node
	out    io.Writer
	missed []string
}

func (o *overload) line(what string, s *load.Seen, node *cluster.Node) {
	rss, err := node.RSS()
	if err != nil {
		rss = 0
	}
	fmt.Fprintf(o.out, "%-26s %9.0f %9d %9d %9.1f %9.1f %9.1f %5d MiB %8d", what,
		float64(s.Offered)/s.Took.Seconds(), s.Accepted, s.Refused,
		float64(s.AcceptedIn(.5))/1e6, float64(s.AcceptedIn(.99))/1e6, float64(s.RefusedIn(.99))/1e6, rss>>20, s.Failed)
	if s.NotSent > 0 {
		fmt.Fprintf(o.out, "  (%d could not even be sent)", s.NotSent)
	}
	fmt.Fprintln(o.out)
}

func (o *overload) held(what string, is bool, format string, args ...any) {
	word := "held  "
	if !is {
		word = "MISSED"
		o.missed = append(o.missed, what)
	}
	fmt.Fprintf(o.out, "%s %s: %s\n", word, what, fmt.Sprintf(format, args...))
}

// watch looks at the node's memory until what it returns is called, which says the most.
func (o *overload) watch(ctx context.Context) func() int64 {
	ctx, stop := context.WithCancel(ctx)
	var (
		most atomic.Int64
		wait sync.WaitGroup
	)
	wait.Go(func() {
		for cluster.Wait(ctx, 50*time.Millisecond) == nil {
			if rss, err := o.node.RSS(); err == nil && rss > most.Load() {
				most.Store(rss)
			}
		}
	})
	return func() int64 {
		stop()
		wait.Wait()
		return most.Load()
	}
}

// slowClients send a body of a MiB, and hardly any of it.
type slowClients struct {
	n     int
	conns []net.Conn
	stop  context.CancelFunc
	wait  sync.WaitGroup
}

// openSlow opens as many as both processes have descriptors for: each has as many limits.
func openSlow(ctx context.Context, node *cluster.Node) (*slowClients, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	most := slowMost
	if room := int64(limit.Cur) - 2000; room < int64(most) {
		most = int(max(0, room))
	}
	u, err := url.Parse(node.Info().HTTP)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &slowClients{stop: stop}
	head := fmt.Sprintf("POST /api/v1/tasks/slow/trigger HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: 1048576\r\n\r\n{", u.Host, node.Info().Environments[0].Key)
	var d net.Dialer
	for len(s.conns) < most && ctx.Err() == nil {
		c, err := d.DialContext(ctx, "tcp", u.Host)
		if err != nil {
			break // as many as there can be
		}
		if _, err := io.WriteString(c, head); err != nil {
			_ = c.Close()
			break
		}
		s.conns = append(s.conns, c)
	}
	s.n = len(s.conns)
	s.wait.Go(func() {
		for cluster.Wait(ctx, time.Second) == nil {
			for _, c := range s.conns {
				_, _ = c.Write([]byte(" ")) // those that the node has given up are gone
			}
		}
	})
	return s, nil
}

func (s *slowClients) close() {
	s.stop()
	s.wait.Wait()
	for _, c := range s.conns {
		_ = c.Close()
	}
}
