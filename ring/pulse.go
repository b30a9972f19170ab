package ring

import (
	"context"
	_ "embed"
	"strconv"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
)

//go:embed lua/beat.lua
var beatLua string

var beatScript = redisdb.NewClockScript(beatLua)

// beatLife is how long a node's number stays in Redis after its last beat.
const beatLife = time.Hour

// beat is what is known of a partition's Redis.
type beat struct {
	server  string // run_id/master_replid; empty before the first answer
	written int64  // the last number that Redis answered to have written
}

// pulse writes the next number everywhere and returns the partitions whose Redis may
// have gone back since the last one that it answered to. Where Redis does not answer
// nothing is known, and nothing returned.
func (r *Ring) pulse(ctx context.Context, db *redisdb.DB) (back []int) {
	r.number++
	names, partitions := db.Names(), r.cfg.Partitions
	size := partitions
	if db.Cluster() {
		size = 1
	}
	var calls []redisdb.Call
	for p := 0; p < partitions; p += size {
		call := redisdb.Call{Script: beatScript, Args: []any{r.number, beatLife.Milliseconds()}}
		for i := range size {
			call.Keys = append(call.Keys, names.Beat(p+i, r.cfg.node))
		}
		calls = append(calls, call)
	}
	for c, result := range db.Run(ctx, calls) {
		texts, ok := result.Strings(size + 1)
		if !ok {
			continue
		}
		for i, text := range texts[:size] {
			if r.beats[c*size+i].wentBack(text, texts[size]) {
				back = append(back, c*size+i)
			}
			r.beats[c*size+i] = beat{texts[size], r.number}
		}
	}
	return back
}

// wentBack judges what was found by what was known.
func (b *beat) wentBack(found, server string) bool {
	if b.server == "" {
		return false // the first: nothing was kept before it that a round does not find
	}
	n, err := strconv.ParseInt(found, 10, 64)
	return err != nil || n < b.written || server != b.server
}
