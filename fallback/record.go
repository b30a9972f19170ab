package fallback

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

//go:embed lua/look.lua
var lookLua string

var lookScript = redisdb.NewScript("#!lua flags=no-writes\n" + lookLua)

// RedisRecords reads the records of keys, and never writes one.
type RedisRecords struct{ DB *redisdb.DB }

// Look implements [Records]. A record of an unknown form is run.ErrUnknownVersion.
func (s RedisRecords) Look(ctx context.Context, environment string, partition int, hash run.Hash) (Record, error) {
	if partition < 0 || partition >= s.DB.Partitions() {
		return Record{}, fmt.Errorf("fallback: partition %d outside [0, %d)", partition, s.DB.Partitions())
	}
	result := s.DB.Run(ctx, []redisdb.Call{{Script: lookScript, Keys: []string{s.DB.Names().Record(partition, hash)}}})[0]
	if result.Err != nil {
		return Record{}, result.Err
	}
	texts, ok := result.Strings(3)
	if !ok {
		return Record{}, redisdb.Unreadable()
	}
	record, ok := parseRecord(texts[0], texts[1], redisdb.EnvTag(environment))
	if record.Now, ok = instant(texts[2], ok); !ok {
		return Record{}, fmt.Errorf("fallback: record of a key is of another form: %w", run.ErrUnknownVersion)
	}
	return record, nil
}

// parseRecord reads a record with the status of the entry behind it. It is total.
// A run whose entry is gone holds nothing, nor does one of another environment.
func parseRecord(text, status, tag string) (r Record, ok bool) {
	f := strings.Split(text, "|")
	switch {
	case text == "":
		return Record{}, true
	case len(f) < 3 || f[0] != "1":
		return Record{}, false
	case f[1] == "p", f[1] == "f":
		return Record{}, true
	case f[1] == "r" && len(f) == 7:
	case f[1] == "b" && len(f) == 8:
		if status == "" || f[7] != tag {
			return Record{}, true
		}
		r.Queued = status == "q"
	default:
		return Record{}, false
	}
	id, err := run.ParseID(f[2])
	r.Run = id
	r.AcceptedAt, ok = instant(f[3], err == nil)
	r.Until, ok = instant(f[4], ok)
	if !ok {
		return Record{}, false
	}
	return r, true
}

func instant(text string, so bool) (run.Instant, bool) {
	at, ok := redisdb.ParseInstant(text)
	return at, ok && so
}
