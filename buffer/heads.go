package buffer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Usage is how much is buffered and not materialised.
type Usage struct {
	Entries int64
	Bytes   int64 // of snapshots and patches
}

// Head is what one partition holds of one environment. The environment is listed
// as long as it has entries, also if none of them waits.
type Head struct {
	Organisation string
	Environment  string
	Usage        Usage
	Depth        int         // references in the queue; some may lead nowhere
	Oldest       run.ID      // the first of the queue; zero if that is empty
	AcceptedAt   run.Instant // of Oldest; 0 if its entry is gone
}

// Partition is what one partition holds.
type Partition struct {
	Partition int
	Usage     Usage
	Leased    int // leases and delays
	Due       int // of those: over, for [Store.Reap]
	Dead      int // moved aside, because they can not be read
	// DeadRefs are the first hundred of those, "<environment tag>:<run>".
	DeadRefs []string
	Heads    []Head      // by environment
	Now      run.Instant // Redis's TIME
}

// Heads tells what partitions hold, each in its place. An environment that can not be
// read is left out of its partition. With an error come those partitions that answered,
// in order: on a cluster the others may be out.
func (s *Store) Heads(ctx context.Context, partitions []int) ([]Partition, error) {
	items := make([]item, len(partitions))
	for i, p := range partitions {
		if p < 0 || p >= s.db.Partitions() {
			return nil, fmt.Errorf("buffer: partition %d outside [0, %d)", p, s.db.Partitions())
		}
		items[i] = item{partition: p, keys: []string{s.names.Envs(p), s.names.Usage(p), s.names.Leases(p), s.names.Dead(p)}}
	}
	found := make([]Partition, 0, len(partitions))
	var failed error
	for i, a := range s.each(ctx, headsScript, nil, items) {
		p, ok := parsePartition(a.value)
		switch {
		case a.err != nil:
			failed = a.err
		case !ok:
			failed = redisdb.Unreadable()
		default:
			p.Partition, p.Now = partitions[i], a.now
			found = append(found, p)
		}
	}
	return found, failed
}

const headWidth = 6

// parsePartition reads one element of the heads script's answer. It is total.
func parsePartition(v any) (p Partition, ok bool) {
	f, ok := v.([]any)
	if !ok || len(f) < 5 || (len(f)-5)%headWidth != 0 {
		return Partition{}, false
	}
	usage, _ := f[0].(string)
	p.Usage, ok = parseUsage(usage)
	var numbers [3]int64
	for i := range numbers {
		var good bool
		numbers[i], good = f[1+i].(int64)
		ok = ok && good
	}
	dead, good := f[4].([]any)
	if !ok || !good {
		return Partition{}, false
	}
	p.Leased, p.Due, p.Dead = int(numbers[0]), int(numbers[1]), int(numbers[2])
	for _, d := range dead {
		ref, _ := d.(string)
		p.DeadRefs = append(p.DeadRefs, ref)
	}
	for at := 5; at < len(f); at += headWidth {
		if head, ok := parseHead(f[at : at+headWidth]); ok {
			p.Heads = append(p.Heads, head)
		}
	}
	slices.SortFunc(p.Heads, func(a, b Head) int { return cmp.Compare(a.Environment, b.Environment) })
	return p, true
}

func parseHead(f []any) (h Head, ok bool) {
	var texts [headWidth]string
	for i, v := range f {
		texts[i], _ = v.(string)
	}
	t, ok := parseTenant(texts[0], texts[1])
	if !ok {
		return Head{}, false
	}
	h.Organisation, h.Environment = t.Organisation, t.Environment
	if h.Usage, ok = parseUsage(texts[2]); !ok {
		return Head{}, false
	}
	depth, ok := f[3].(int64)
	if !ok {
		return Head{}, false
	}
	h.Depth = int(depth)
	if texts[4] != "" {
		id, err := run.ParseID(texts[4])
		if err != nil {
			return Head{}, false
		}
		h.Oldest = id
	}
	h.AcceptedAt, _ = redisdb.ParseInstant(texts[5])
	return h, true
}

func parseTenant(tag, text string) (t tenant, ok bool) {
	err := json.Unmarshal([]byte(text), &t)
	return t, err == nil && redisdb.EnvTag(t.Environment) == tag
}

// parseUsage reads a count; "" is none.
func parseUsage(text string) (u Usage, ok bool) {
	if text == "" {
		return Usage{}, true
	}
	n, bytes, ok := strings.Cut(text, "|")
	if !ok || n == "" || bytes == "" {
		return Usage{}, false
	}
	return u, count(n, &u.Entries) && count(bytes, &u.Bytes)
}

// all names one key of every partition.
func (s *Store) all(name func(int) string) []item {
	items := make([]item, s.db.Partitions())
	for p := range items {
		items[p] = item{partition: p, keys: []string{name(p)}}
	}
	return items
}

// Usage tells how much an environment has buffered, over all partitions.
func (s *Store) Usage(ctx context.Context, environment string) (Usage, error) {
	return s.usage(ctx, redisdb.EnvTag(environment))
}

// Total tells how much is buffered, over all partitions.
func (s *Store) Total(ctx context.Context) (Usage, error) { return s.usage(ctx, "*") }

func (s *Store) usage(ctx context.Context, field string) (total Usage, err error) {
	for _, a := range s.each(ctx, usageScript, []any{field}, s.all(s.names.Usage)) {
		if a.err != nil {
			return Usage{}, a.err
		}
		text, ok := a.value.(string)
		u, good := parseUsage(text)
		if !ok || !good {
			return Usage{}, redisdb.Unreadable()
		}
		total.Entries += u.Entries
		total.Bytes += u.Bytes
	}
	return total, nil
}

// Page says which ids [Store.List] returns: those below Before, or those above
// After; the zero Page begins at the top.
type Page struct {
	Before run.ID
	After  run.ID
	Limit  int // 1 to 1000
}

// List returns ids of an environment's runs that are not materialised, the
// greatest first: at most Limit of those next to the bound.
func (s *Store) List(ctx context.Context, environment string, page Page) ([]run.ID, error) {
	if page.Limit < 1 || page.Limit > 1000 || !page.Before.IsZero() && !page.After.IsZero() {
		return nil, fmt.Errorf("buffer: list with limit %d outside [1, 1000], or with both bounds", page.Limit)
	}
	direction, bound := "<", page.Before.String()
	if !page.After.IsZero() {
		direction, bound = ">", page.After.String()
	}
	tag := redisdb.EnvTag(environment)
	var texts []string
	for _, a := range s.each(ctx, listScript, []any{direction, bound, page.Limit},
		s.all(func(p int) string { return s.names.Index(p, tag) })) {
		if a.err != nil {
			return nil, a.err
		}
		ids, ok := a.value.([]any)
		if !ok {
			return nil, redisdb.Unreadable()
		}
		for _, id := range ids {
			text, _ := id.(string)
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	if direction == ">" {
		texts = texts[:min(len(texts), page.Limit)]
	} else {
		texts = texts[len(texts)-min(len(texts), page.Limit):]
	}
	slices.Reverse(texts)
	list := make([]run.ID, 0, len(texts))
	for _, text := range texts {
		if id, err := run.ParseID(text); err == nil {
			list = append(list, id)
		}
	}
	return list, nil
}

// StaleRun is an entry that has been in the buffer for long.
type StaleRun struct {
	Ref
	Organisation string
	AcceptedAt   run.Instant
	Dwell        time.Duration // on Redis's clock
	Status       Status
}

// Sweep returns entries of a partition that were accepted at least age ago and
// are not materialised, the oldest first, at most limit of each environment.
func (s *Store) Sweep(ctx context.Context, partition int, age time.Duration, limit int) ([]StaleRun, error) {
	if partition < 0 || partition >= s.db.Partitions() || limit < 1 || limit > 1000 {
		return nil, fmt.Errorf("buffer: partition %d outside [0, %d), or limit %d outside [1, 1000]", partition, s.db.Partitions(), limit)
	}
	result := s.db.Run(ctx, []redisdb.Call{{
		Script: staleScript, Keys: []string{s.names.Leases(partition), s.names.Envs(partition)},
		Args: []any{max(age, 0).Microseconds(), limit},
	}})[0]
	if result.Err != nil {
		return nil, result.Err
	}
	last := len(result.Values) - 1
	if last < 0 {
		return nil, redisdb.Unreadable()
	}
	now, ok := instantOf(result.Values[last])
	if !ok {
		return nil, redisdb.Unreadable()
	}
	var stale []StaleRun
	for _, v := range result.Values[:last] {
		if r, ok := parseStale(v, now); ok {
			stale = append(stale, r)
		}
	}
	slices.SortStableFunc(stale, func(a, b StaleRun) int { return cmp.Compare(a.AcceptedAt, b.AcceptedAt) })
	return stale, nil
}

func parseStale(v any, now run.Instant) (r StaleRun, ok bool) {
	f, _ := (redisdb.Result{Values: asList(v)}).Strings(5)
	if f == nil {
		return StaleRun{}, false
	}
	t, ok := parseTenant(f[0], f[1])
	id, err := run.ParseID(f[2])
	at, good := redisdb.ParseInstant(f[3])
	if !ok || err != nil || !good || len(f[4]) != 1 {
		return StaleRun{}, false
	}
	return StaleRun{
		Ref{t.Environment, id}, t.Organisation, at, time.Duration(now-at) * time.Microsecond, Status(f[4][0]),
	}, true
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// Organisations are those that have entries in the buffer which are not
// materialised, in any partition.
func (s *Store) Organisations(ctx context.Context) (map[string]bool, error) {
	partitions := make([]int, s.db.Partitions())
	for p := range partitions {
		partitions[p] = p
	}
	found, err := s.Heads(ctx, partitions)
	if err != nil {
		return nil, err
	}
	held := make(map[string]bool)
	for i := range found {
		for _, h := range found[i].Heads {
			held[h.Organisation] = true
		}
	}
	return held, nil
}
