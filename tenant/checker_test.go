package tenant

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

func TestOneCheckInEveryGap(t *testing.T) {
	t.Parallel()
	c := newChecker()
	at := time.Unix(1000, 0)
	first := c.ask(at)
	if c.ask(at) != first || c.ask(at.Add(time.Hour)) != first {
		t.Fatal("a check that is not over must be shared, however old")
	}
	close((<-c.asked).done)
	if c.ask(at.Add(checkGap-1)) != first {
		t.Fatal("the answer must stand for the gap")
	}
	second := c.ask(at.Add(checkGap))
	if second == first {
		t.Fatal("a new check after the gap")
	}
	if <-c.asked != second {
		t.Fatal("the new check must reach the loop")
	}
	close(second.done)
}

func TestFloodNeverBlocksOnTheLoop(t *testing.T) {
	t.Parallel()
	c := newChecker()
	served, stop := make(chan int), make(chan struct{})
	go func() {
		n := 0
		for {
			select {
			case ask := <-c.asked:
				n++
				close(ask.done)
			case <-stop:
				served <- n
				return
			}
		}
	}()
	const gaps = 50
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range gaps * 100 {
				<-c.ask(time.Unix(1000, 0).Add(time.Duration(i) * checkGap / 100)).done
			}
		})
	}
	wg.Wait()
	close(stop)
	if n := <-served; n < 1 || n > gaps {
		t.Errorf("%d checks in %d gaps", n, gaps)
	}
}

func TestMissesEndAndAreBounded(t *testing.T) {
	t.Parallel()
	var m misses
	at := time.Unix(1000, 0)
	h := hashKey("a")
	if m.has(h, at) {
		t.Fatal("an empty cache has nothing")
	}
	m.add(h, at)
	if !m.has(h, at.Add(missTTL-1)) || m.has(h, at.Add(missTTL)) {
		t.Fatalf("a miss must last exactly %s", missTTL)
	}
	for i := range uint64(3 * maxMisses) {
		var h keyHash
		binary.BigEndian.PutUint64(h[:], i+1)
		m.add(h, at)
		if len(m.until) > maxMisses || !m.has(h, at) {
			t.Fatalf("after %d misses: %d kept", i+1, len(m.until))
		}
	}
}
