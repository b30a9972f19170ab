package mollifier_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/e0ff5a15/mollifier/gate"
)

// lines are the items of a batch as a client streams them; every tenth has a key,
// and payloads of a given size.
func lines(n, size int) string {
	var b strings.Builder
	for i := range n {
		options := ""
		if i%10 == 0 {
			options = fmt.Sprintf(`,"options":{"idempotencyKey":"item-%d"}`, i)
		}
		fmt.Fprintf(&b, `{"index":%d,"task":"send","payload":"%s"%s}`+"\n", i, strings.Repeat("x", size), options)
	}
	return b.String()
}

func (w *wired) createBatch(n int) string {
	w.t.Helper()
	status, v := w.do("prod", http.MethodPost, "/api/v3/batches", fmt.Sprintf(`{"runCount":%d}`, n), "Content-Type", "application/json")
	if status != http.StatusAccepted {
		w.t.Fatalf("%d %v", status, v)
	}
	return v["id"].(string)
}

// runsOf are the runs of a batch, each of which has to be readable.
func (w *wired) runsOf(batch string) map[string]bool {
	w.t.Helper()
	out := map[string]bool{}
	for _, id := range w.ok("prod", http.MethodGet, "/api/v2/batches/"+batch, "")["runs"].([]any) {
		w.ok("prod", http.MethodGet, "/api/v3/runs/"+id.(string), "")
		out[id.(string)] = true
	}
	return out
}

// Several clients stream the items of one batch at once, to two nodes, each the
// whole of them: every item is accepted from one stream and a repetition in all
// others, and every stream is told that the batch is sealed.
func TestStreamsOfOneBatchAtOnce(t *testing.T) {
	t.Parallel()
	for name, force := range map[string]gate.Force{"passed through": gate.ForcePass, "mollified": gate.ForceMollify} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := shared(t)
			cfg.NoDrain = force == gate.ForceMollify
			nodes := []*wired{wire(t, cfg), wire(t, cfg)}
			for _, node := range nodes {
				if err := forced(t, node.Engine, "prod", force); err != nil {
					t.Fatal(err)
				}
			}
			const n, streams = 200, 6
			id := nodes[0].createBatch(n)
			body := lines(n, 10)
			answers := make([]map[string]any, streams)
			var sending sync.WaitGroup
			for i := range answers {
				sending.Go(func() {
					status, v := nodes[i%2].do("prod", http.MethodPost, "/api/v3/batches/"+id+"/items", body, "Content-Type", "application/x-ndjson")
					if status != http.StatusOK {
						t.Errorf("stream %d: %d %v", i, status, v)
					}
					answers[i] = v
				})
			}
			sending.Wait()
			accepted := 0
			for i, v := range answers {
				if v["sealed"] != true {
					t.Errorf("stream %d: %v", i, v)
				}
				count, _ := v["itemsAccepted"].(float64)
				accepted += int(count)
			}
			if accepted != n {
				t.Errorf("%d items accepted in all, of %d", accepted, n)
			}
			for _, node := range nodes {
				if runs := node.runsOf(id); len(runs) != n {
					t.Errorf("%d runs of %d items", len(runs), n)
				}
			}
		})
	}
}

// A client dies in the middle of its stream. What was in stays in, the batch stays
// open, and who sends the whole stream again, to another node, seals it: one run
// for each item, and those of before are the same.
func TestClientVanishesInTheMiddleOfItsStream(t *testing.T) {
	t.Parallel()
	for name, force := range map[string]gate.Force{"passed through": gate.ForcePass, "mollified": gate.ForceMollify} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := shared(t)
			cfg.NoDrain = force == gate.ForceMollify
			first, second := wire(t, cfg), wire(t, cfg)
			for _, node := range []*wired{first, second} {
				if err := forced(t, node.Engine, "prod", force); err != nil {
					t.Fatal(err)
				}
			}
			const n, size = 60, 100_000 // over one group of 4 MiB, and not two
			id := first.createBatch(n)
			body := lines(n, size)
			u, err := url.Parse(first.url)
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", u.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			half := body[:len(body)-size] // the last line breaks off
			if _, err := fmt.Fprintf(c, "POST /api/v3/batches/%s/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer prod\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", id, len(body)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(c, bytes.NewReader([]byte(half))); err != nil {
				t.Fatal(err)
			}
			var before map[string]bool
			waitFor(t, "the first group of items", func() bool {
				before = second.runsOf(id)
				return len(before) > 0
			})
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if len(before) >= n {
				t.Fatalf("%d runs of half a stream", len(before))
			}
			v := second.ok("prod", http.MethodPost, "/api/v3/batches/"+id+"/items", body, "Content-Type", "application/x-ndjson")
			accepted, _ := v["itemsAccepted"].(float64)
			repeated, _ := v["itemsDeduplicated"].(float64)
			if v["sealed"] != true || accepted+repeated != n || int(repeated) < len(before) {
				t.Errorf("%v, of which %d were there", v, len(before))
			}
			after := second.runsOf(id)
			if len(after) != n {
				t.Errorf("%d runs of %d items", len(after), n)
			}
			for run := range before {
				if !after[run] {
					t.Errorf("%s is no more in its batch", run)
				}
			}
			v = first.ok("prod", http.MethodPost, "/api/v3/batches/"+id+"/items", body, "Content-Type", "application/x-ndjson")
			if v["sealed"] != true || v["itemsAccepted"] != 0.0 {
				t.Errorf("after the seal: %v", v)
			}
		})
	}
}
