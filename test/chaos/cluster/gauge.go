package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Gauge is what a node takes of its machine.
type Gauge struct {
	RSS        int64 // bytes
	Heap       int64 // bytes of live objects, after a collection
	Goroutines int
	Files      int // open descriptors
}

// Measure asks the kernel and the node; it makes the node collect its garbage first.
func (n *Node) Measure(ctx context.Context) (g Gauge, err error) {
	info := n.Info()
	heap, err := n.profile(ctx, "heap?debug=1&gc=1", regexp.MustCompile(`# HeapAlloc = (\d+)`))
	if err != nil {
		return g, err
	}
	goroutines, err := n.profile(ctx, "goroutine?debug=1", regexp.MustCompile(`^goroutine profile: total (\d+)`))
	if err != nil {
		return g, err
	}
	g.Heap, g.Goroutines = heap, int(goroutines)
	proc := filepath.Join("/proc", strconv.Itoa(info.PID))
	if g.RSS, err = rss(proc); err != nil {
		return g, err
	}
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	g.Files = len(files)
	return g, err
}

// RSS is how much memory the node has resident.
func (n *Node) RSS() (int64, error) { return rss(filepath.Join("/proc", strconv.Itoa(n.Info().PID))) }

func rss(proc string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmRSS in /proc/PID/status")
}

func (n *Node) profile(ctx context.Context, path string, figure *regexp.Regexp) (int64, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Info().Admin+"/debug/pprof/"+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	found := figure.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("%s: %s tells no figure (%s)", n.Name, path, answer.Status)
	}
	return strconv.ParseInt(string(found[1]), 10, 64)
}

// RedisLevels are the keys of our prefix that there are, and what Redis uses in bytes.
func (c *Cluster) RedisLevels(ctx context.Context) (keys, bytes int64, err error) {
	client := c.client()
	for cursor := uint64(0); ; {
		var page []string
		if page, cursor, err = client.Scan(ctx, cursor, "m:*", 1000).Result(); err != nil {
			return 0, 0, err
		}
		if keys += int64(len(page)); cursor == 0 {
			break
		}
	}
	text, err := client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, 0, err
	}
	found := regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(text)
	if found == nil {
		return 0, 0, errors.New("no used_memory in INFO")
	}
	bytes, err = strconv.ParseInt(found[1], 10, 64)
	return keys, bytes, err
}

// Tables are the tables that grow with traffic.
type Tables struct {
	Rows       int64 // of runs, as Postgres estimates them
	Bytes      int64 // of runs, with its large values
	IndexBytes int64
	Dead       int64 // rows that are dead and not vacuumed
}

// Tables asks Postgres itself.
func (c *Cluster) Tables(ctx context.Context) (t Tables, err error) {
	conn, err := c.Connect(ctx)
	if err != nil {
		return t, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, `
select n_live_tup, pg_table_size(relid), pg_indexes_size(relid), n_dead_tup
  from pg_stat_user_tables where relname = 'runs'`).Scan(&t.Rows, &t.Bytes, &t.IndexBytes, &t.Dead)
	return t, err
}
