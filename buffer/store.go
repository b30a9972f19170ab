package buffer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Grace is how long a materialised entry can still be read.
const Grace = 30 * time.Second

// life is how long, at least, the record of a key stays after its binding ended.
const life = 60 * time.Second

// maxItems is the most items of one script call. Redis serves nobody else while
// a script runs; a bigger batch becomes several calls of one round trip.
const maxItems = 256

// Config is the settings of a [Store]. The zero value of a field means its
// default.
type Config struct {
	// Fence is how old, on Redis's clock, a look into Postgres may be for an
	// accept without a claim: 1 ms to less than a quarter of [Grace]. Default 1 s.
	Fence time.Duration
	// MaxEntries and MaxBytes bound a partition: over them, accept answers
	// [Full]. Bytes are those of snapshots and patches; Redis needs some 700
	// more for each entry. Default 1,000,000 and 1 GiB.
	MaxEntries int
	MaxBytes   int64
	// MaxPatches and MaxEntryBytes bound one entry: over them, its run takes no
	// change until it is materialised. Default 1,000 and 16 MiB.
	MaxPatches    int
	MaxEntryBytes int64
	// Keeper is told what this node acknowledges. Nil: nobody is.
	Keeper Keeper
}

func (c Config) validate() error {
	for _, rule := range []struct {
		field string
		ok    bool
		limit string
	}{
		{"Fence", c.Fence >= time.Millisecond && c.Fence < Grace/4, fmt.Sprintf("must be 1ms to less than %s", Grace/4)},
		{"MaxEntries", c.MaxEntries >= 1, "must be at least 1"},
		{"MaxBytes", c.MaxBytes >= 1 && c.MaxBytes <= 1<<50, "must be 1 to 2^50"},
		{"MaxPatches", c.MaxPatches >= 1 && c.MaxPatches <= 5000, "must be 1 to 5000"},
		{"MaxEntryBytes", c.MaxEntryBytes >= 1 && c.MaxEntryBytes <= 256<<20, "must be 1 to 256 MiB"},
	} {
		if !rule.ok {
			return fmt.Errorf("buffer: Config.%s %s", rule.field, rule.limit)
		}
	}
	return nil
}

// Store is the buffer of one deployment. Its methods are safe for concurrent
// use. It holds nothing but its Redis, which its owner opens and closes.
//
// Errors of all methods, of a call or of an item, wrap [run.ErrUnavailable] when
// Redis gave no answer; [redisdb.OutcomeUnknown] then tells whether it may have
// been executed. [run.ErrUnknownVersion] means a record or an entry that this
// build can not read, and that was left as it is. Anything else is a mistake of
// the caller. Every method may be repeated.
type Store struct {
	db    *redisdb.DB
	names redisdb.Names
	cfg   Config
}

// New checks the configuration, by the names of its fields.
func New(db *redisdb.DB, cfg Config) (*Store, error) {
	if db == nil {
		return nil, errors.New("buffer: without a Redis")
	}
	def(&cfg.Fence, time.Second)
	def(&cfg.MaxEntries, 1_000_000)
	def(&cfg.MaxBytes, 1<<30)
	def(&cfg.MaxPatches, 1000)
	def(&cfg.MaxEntryBytes, 16<<20)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Store{db: db, names: db.Names(), cfg: cfg}, nil
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Ref names an entry. A run that this deployment did not mint is in no buffer.
type Ref struct {
	Environment string
	ID          run.ID
}

func (s *Store) partition(id run.ID) (int, bool) {
	p, ok := id.Partition()
	return p, ok && p < s.db.Partitions()
}

// Token proves who holds a lease: 128 bits that nobody can guess.
type Token [16]byte

// NewToken returns a fresh token from crypto/rand, which never fails.
func NewToken() (t Token) {
	_, _ = rand.Read(t[:])
	return t
}

// String hides the token: it is a credential, and logs are not the place.
func (t Token) String() string { return "lease token" }

func tokenText(t [16]byte) string {
	if t == ([16]byte{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(t[:])
}

// errUnreadable is what an entry or a record gives that this build does not know.
var errUnreadable = fmt.Errorf("buffer: entry or record is of another form: %w", run.ErrUnknownVersion)

// item is one element of a batch: where it goes and what its script is told.
type item struct {
	partition int
	keys      []string
	args      []any
	tag       string // of its environment, if the script takes what those share once
}

// answer is what a script said of one item, and when by TIME.
type answer struct {
	value any
	now   run.Instant
	err   error
}

// chunk is one call of a script over items.
type chunk struct {
	items  []int
	slots  map[slotKey]int // number of each
	shared []string        // keys that the slots share
	tags   []any
	keys   []string
	args   []any
}

// each runs a script over items, as many to a call as may be, and returns the
// answer to each. The script replies with one element for each item, and TIME.
// On a cluster the items of a call are of one partition.
func (s *Store) each(ctx context.Context, script *redisdb.Script, header []any, items []item) []answer {
	return s.run(ctx, script, header, items, func(c *chunk, it *item) {
		c.keys, c.args = append(c.keys, it.keys...), append(c.args, it.args...)
	})
}

// eachLeaving is each for a script that takes entries out: what their
// environments share goes in front, once: index, leases, counts, environments.
// In the header's end stands how many they are, and their tags; each item's
// arguments begin with the number of its own. The last key is never there.
func (s *Store) eachLeaving(ctx context.Context, script *redisdb.Script, header []any, items []item) []answer {
	return s.run(ctx, script, header, items, func(c *chunk, it *item) {
		slot := slotKey{it.partition, it.tag}
		number := c.slots[slot]
		if number == 0 {
			if c.slots == nil {
				c.slots = map[slotKey]int{}
			}
			number = len(c.slots) + 1
			c.slots[slot] = number
			c.tags = append(c.tags, it.tag)
			p := it.partition
			c.shared = append(c.shared, s.names.Index(p, it.tag), s.names.Leases(p), s.names.Usage(p), s.names.Envs(p))
		}
		c.keys, c.args = append(c.keys, it.keys...), append(append(c.args, number), it.args...)
	})
}

func (s *Store) run(ctx context.Context, script *redisdb.Script, header []any, items []item, add func(*chunk, *item)) []answer {
	answers := make([]answer, len(items))
	var chunks []*chunk
	filling := map[int]*chunk{} // by group: the call that takes more
	for i := range items {
		group := 0
		if s.db.Cluster() {
			group = items[i].partition
		}
		c := filling[group]
		if c == nil || len(c.items) == maxItems {
			c = &chunk{}
			chunks, filling[group] = append(chunks, c), c
		}
		add(c, &items[i])
		c.items = append(c.items, i)
	}
	calls := make([]redisdb.Call, len(chunks))
	for i, c := range chunks {
		head, keys := slices.Clone(header), append(c.shared, c.keys...)
		if c.slots != nil {
			head = append(append(head, len(c.tags)), c.tags...)
			keys = append(keys, s.names.Absent(items[c.items[0]].partition))
		}
		calls[i] = redisdb.Call{
			Script: script, Keys: keys, Args: append(head, c.args...),
			Durable: script == patchScript, // a change that is acknowledged is as durable as its run
		}
	}
	for c, result := range s.db.Run(ctx, calls) {
		var now run.Instant
		err := result.Err
		if n := len(chunks[c].items); err == nil {
			var ok bool
			if len(result.Values) == n+1 {
				now, ok = instantOf(result.Values[n])
			}
			if !ok {
				err = redisdb.Unreadable()
			}
		}
		for at, i := range chunks[c].items {
			if answers[i] = (answer{now: now, err: err}); err == nil {
				answers[i].value = result.Values[at]
			}
		}
	}
	return answers
}

func instantOf(v any) (run.Instant, bool) {
	text, ok := v.(string)
	if !ok {
		return 0, false
	}
	return redisdb.ParseInstant(text)
}
