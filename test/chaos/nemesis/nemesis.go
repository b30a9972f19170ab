// Package nemesis breaks things and mends them again.
//
// Each nemesis does its harm, waits, and undoes what it did; the harm is over when
// Run returns. Two of them may run at once, on the same thing too: what one broke
// the other may find broken, and mend.
package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/mollifiertest/link"
	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
)

// Nemesis is one way to break things.
type Nemesis struct {
	Class string // N1 to N14: the kind of fault
	Name  string
	What  string
	// Empties is set where Redis may come back without what it had. What was only
	// there is put back by the nodes that have acknowledged it.
	Empties bool
	// Forgets is set where such a node may end. Together with Empties what was only in
	// Redis may be lost, as docs/promises.md says.
	Forgets bool
	// Hides is set where a node may be unable to ask Postgres while Redis answers. A
	// run that was leased then is shown as it was accepted, whatever became of it.
	Hides bool
	// Blinds is set where a node may be unable to ask Redis.
	Blinds bool
	// Run breaks and mends. An error says that it could not be done.
	Run func(context.Context, *Field) error
}

// Field is where nemeses work.
type Field struct {
	*cluster.Cluster
	Rand *rand.Rand
	// Most bounds how long one harm lasts.
	Most time.Duration

	stores *sync.Mutex // one start of a store at a time
}

// NewField returns a field for one nemesis; fields of one cluster that are used at
// once come from [Field.Twin].
func NewField(c *cluster.Cluster, seed uint64, most time.Duration) *Field {
	return &Field{c, rand.New(rand.NewPCG(seed, 77)), most, &sync.Mutex{}}
}

// Twin is a field of the same cluster for a second nemesis at the same time.
func (f *Field) Twin() *Field {
	return &Field{f.Cluster, rand.New(rand.NewPCG(f.Rand.Uint64(), 78)), f.Most, f.stores}
}

// All are the nemeses that can be run from outside, in their order.
func All() []Nemesis {
	var all []Nemesis
	for _, some := range [][]Nemesis{nodes, redis, network, postgres, disks} {
		all = append(all, some...)
	}
	for i := range all {
		both := all[i].Name == "both-unreachable"
		all[i].Hides = both || strings.HasPrefix(all[i].Name, "postgres-")
		all[i].Blinds = both || strings.HasPrefix(all[i].Name, "redis-") || all[i].Name == "script-busy"
	}
	return all
}

// NotRun says of each kind of fault that is missing why it is.
var NotRun = map[string]string{
	"N9 clock-jump":          "the clock of a process that asks the kernel directly can not be bent from outside; tested with clocks of the stores' own in claim and runstore",
	"N14 panic":              "needs a build with faults in it: actors/stop_test.go, httpapi/request_test.go",
	"N7 minority-primary":    "needs a Cluster of three masters",
	"N8 synchronous-standby": "needs a second Postgres that takes over",
}

// hold lasts from a third of the most to all of it.
func (f *Field) hold(ctx context.Context) error {
	return cluster.Wait(ctx, f.Most/3+time.Duration(f.Rand.Int64N(int64(f.Most*2/3))))
}

// node is a random node that passes the test, or any.
func (f *Field) node(ok func(*cluster.Node) bool) *cluster.Node {
	order := f.Rand.Perm(len(f.Nodes))
	for _, i := range order {
		if ok(f.Nodes[i]) {
			return f.Nodes[i]
		}
	}
	return f.Nodes[order[0]]
}

func anyNode(*cluster.Node) bool { return true }

func drains(n *cluster.Node) bool { return n.Drains }

// startNode starts a node that is down.
func (f *Field) startNode(ctx context.Context, n *cluster.Node) error {
	if n.Running() {
		return nil
	}
	if err := n.Start(ctx); err != nil && !n.Running() {
		return err
	}
	return nil
}

// startRedis and startPostgres start what is down.
func (f *Field) startRedis(ctx context.Context) error {
	f.stores.Lock()
	defer f.stores.Unlock()
	if f.Redis().PID() != 0 {
		return nil
	}
	return f.Redis().Start(ctx)
}

func (f *Field) startPostgres(ctx context.Context) error {
	f.stores.Lock()
	defer f.stores.Unlock()
	if f.Postgres.PID() != 0 {
		return nil
	}
	return f.Postgres.Start(ctx)
}

// Mend undoes whatever is still broken.
func (f *Field) Mend(ctx context.Context) error {
	var errs []error
	for _, l := range append(f.Links(true), f.Links(false)...) {
		l.SetWeather(link.Weather{})
	}
	errs = append(errs, f.Redis().Resume(), f.Postgres.Resume(), f.startRedis(ctx), f.startPostgres(ctx))
	for _, n := range f.Nodes {
		errs = append(errs, n.Resume(), f.startNode(ctx, n))
	}
	return errors.Join(errs...)
}

// during does harm, waits, and undoes it whatever happens.
func (f *Field) during(ctx context.Context, harm, undo func() error) error {
	if err := harm(); err != nil {
		return errors.Join(err, undo())
	}
	return errors.Join(f.hold(ctx), undo())
}
