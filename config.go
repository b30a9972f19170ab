package mollifier

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/e0ff5a15/mollifier/run"
)

// Config says how an [Engine] runs. The zero value of every optional field
// means its default; [Config.WithDefaults] shows them. Every node of one
// deployment must agree on Prefix and Partitions: a node that disagrees with
// what the stores remember refuses to start.
type Config struct {
	// Redis is the URL of the Redis (7.0 or later, or Valkey) that holds the
	// claims: redis://[user:password@]host:port[/db], rediss:// for TLS.
	// Required. Its eviction policy must be noeviction.
	Redis string
	// Postgres is the URL of the Postgres (14 or later) that holds the runs:
	// postgres://user:password@host:port/database. Required. Its schema must
	// have been migrated, or Migrate be set.
	Postgres string
	// Migrate brings the schema up to date at start, under an advisory lock.
	Migrate bool

	// Prefix begins every Redis key of the deployment. Default "m".
	Prefix string
	// Partitions is the number of partitions of the deployment, fixed for its
	// life: 1 to 1024. Default 64.
	Partitions int
	// Shards is the number of actors that own the partitions on this node.
	// Default 4 for each CPU, at most Partitions.
	Shards int

	// ClaimTTL is how long a claim lives without renewal: 5 s to 30 s, default
	// 10 s. It does not depend on a key's own TTL.
	ClaimTTL time.Duration
	// WaitBudget is how long a trigger waits for the owner of its key, on this
	// node or another, before it is refused with run.ErrClaimTimeout. Default 5 s.
	WaitBudget time.Duration
	// RedisDeadline bounds one call to Redis. Default 250 ms.
	RedisDeadline time.Duration
	// PostgresDeadline bounds one statement. A trigger, read, reset or finish, with
	// its retries, waits for Postgres at most twice as long. Default 2 s.
	PostgresDeadline time.Duration
	// PostgresConns is the most connections the engine opens for runs. Default 8. It
	// opens up to three more for overrides, of which one stays.
	PostgresConns int

	// MaxCallers is how many triggers may be waiting for an answer at once on
	// this node; over it they are refused with run.ErrOverloaded. Default 65,536.
	MaxCallers int
	// MaxBytes is how many bytes of triggers may be waiting at once. Default 256 MiB.
	MaxBytes int64

	// Gate says when an environment's triggers are mollified.
	Gate GateConfig
	// Buffer bounds what is mollified and not yet drained.
	Buffer BufferConfig
	// Durability is what a run that goes into the buffer, or a change of it there, must
	// have survived before it is acknowledged: run.DurableRedis, as the server is (the
	// default); run.DurableRedisFsync, a file that is synced (appendfsync always, or
	// WAITAOF); run.DurableRedisReplica, one replica (WAIT). A run that does not become so
	// within half of RedisDeadline is settled in Postgres instead. New refuses what the
	// Redis can not do; a Cluster can do only what its setting gives.
	Durability run.Durability
	// RingBytes is how much this node keeps of what it has acknowledged and only Redis
	// holds, to put it back if Redis loses it. Default 64 MiB; negative keeps nothing.
	RingBytes int64
	// NoDrain leaves the buffer to other nodes. Some node has to drain.
	NoDrain bool
	// NoSweep leaves it to other nodes to release delayed runs, to expire those whose TTL
	// has passed, and to remove what Retention says. Some node has to.
	NoSweep bool
	// Retention says what is removed from Postgres, and when. By default nothing is.
	Retention RetentionConfig
	// NoDivert refuses triggers while Postgres is down, instead of taking them
	// into the buffer.
	NoDivert bool

	// Enrolled reports whether an organisation takes part in claims and
	// mollifying. It is called on the hot path: it must answer from memory and
	// be safe for concurrent use. Nil enrols every organisation. Keys of
	// organisations that are not enrolled are kept by Postgres alone, once their
	// buffer has been empty for 30 s. All nodes must hear of a change well within
	// that time.
	Enrolled func(organisation string) bool

	// OnMaterialised receives runs as they land: it is called in the Postgres
	// transaction that inserts their rows, whether they passed or were drained, and
	// what it writes with tx stands exactly if the rows do. Nil costs nothing; with
	// it an insert is a transaction, longer by two round trips and the call.
	//
	// A run whose row was written is never handed over again, and an alias never
	// is: the run that it names was. But a transaction that is rolled back after
	// the call is repeated, so only what is written with tx happens once.
	//
	// An error or a panic rolls the transaction back, and the runs are tried one by
	// one: those that it is about wait, in the buffer if they can, and are tried
	// until it takes them. An error for which errors.Is(err, run.ErrInvalid) holds
	// refuses a run for good: its trigger gets that error; if it was acknowledged
	// before, it becomes a SYSTEM_FAILURE, of which the hook is not told.
	//
	// It is called from several goroutines at once. It has to return when ctx ends
	// (about PostgresDeadline), and must not call the engine, which may wait for
	// the very transaction.
	//
	// Every node of a deployment writes rows, so each needs the same one. Postgres
	// remembers that there is one: from then on New refuses to start a node without, unless
	// DropHook is set. Nodes that run already are not stopped: while a hook is brought in,
	// what they write is handed to nobody.
	OnMaterialised Hook
	// DropHook gives the hook of the deployment up: this node starts without
	// OnMaterialised, and so does every other from now on. It excludes OnMaterialised.
	DropHook bool

	// Node names this node in explanations and in the audit, for people: 1 to 64
	// printable characters. Default a name made up at each start.
	Node string

	// Recent is how many decisions this node remembers, to explain them: some 200
	// bytes each, as they come. Default 32,768; below 0 none.
	Recent int

	// Logger receives the engine's log. Nil discards it.
	Logger *slog.Logger
	// MeterProvider and TracerProvider of OpenTelemetry get the engine's metrics
	// (docs/metrics.md) and traces. Nil is none, and costs nothing.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
}

// GateConfig says when an environment trips the gate: when more than Threshold
// triggers come within Window, counted over all nodes. It stays tripped for Hold
// after the last trigger over the threshold. All nodes should agree.
type GateConfig struct {
	Window    time.Duration // 1 ms to 1 h; default 200 ms
	Threshold int           // 1 to 1,000,000; default 100
	Hold      time.Duration // 1 ms to 1 h; default 500 ms
	// Smooth counts by a leaking bucket instead of fixed windows: no double burst
	// at the edge of two windows.
	Smooth bool
	// RateOnly leaves it to each environment's rate: how Postgres does mollifies
	// nobody.
	RateOnly bool
	// Shadow counts and reports what would be mollified of organisations that are
	// not enrolled; their triggers pass.
	Shadow bool
	// Off is the master switch: nothing is counted or mollified, and nothing
	// claimed either, once the buffer has been empty for 30 s.
	Off bool
	// RecordBytes is how much this node keeps of what the gate has counted and decided,
	// for [Engine.GateRecord]: some 200 bytes and 12 for each 10 ms in which triggers
	// came, for each environment and second. Default 8 MiB; negative keeps nothing.
	RecordBytes int
}

// BufferConfig bounds what is mollified and not yet drained. Over an
// environment's share its triggers are refused with run.ErrQuota; over the whole,
// or while the oldest entry is older than MaxAge, all that would be mollified are
// refused with run.ErrOverloaded. Nothing that was acknowledged is ever dropped.
// Bytes are those of the triggers; Redis needs some 700 more for each.
type BufferConfig struct {
	MaxEntries   int           // of one environment; default 1,000,000
	MaxBytes     int64         // of one environment; default 1 GiB
	TotalEntries int           // default 4,000,000
	TotalBytes   int64         // default 4 GiB
	MaxAge       time.Duration // default 24 h
}

// WithDefaults returns a copy with every zero optional field set.
func (c Config) WithDefaults() Config {
	def(&c.Prefix, "m")
	def(&c.Partitions, 64)
	def(&c.Shards, min(4*runtime.GOMAXPROCS(0), c.Partitions))
	def(&c.ClaimTTL, 10*time.Second)
	def(&c.WaitBudget, 5*time.Second)
	def(&c.RedisDeadline, 250*time.Millisecond)
	def(&c.PostgresDeadline, 2*time.Second)
	def(&c.PostgresConns, 8)
	def(&c.MaxCallers, 65_536)
	def(&c.MaxBytes, 256<<20)
	def(&c.Gate.Window, 200*time.Millisecond)
	def(&c.Gate.Threshold, 100)
	def(&c.Gate.Hold, 500*time.Millisecond)
	def(&c.Gate.RecordBytes, 8<<20)
	def(&c.Buffer.MaxEntries, 1_000_000)
	def(&c.Buffer.MaxBytes, 1<<30)
	def(&c.Buffer.TotalEntries, 4_000_000)
	def(&c.Buffer.TotalBytes, 4<<30)
	def(&c.Buffer.MaxAge, 24*time.Hour)
	def(&c.Recent, 32_768)
	def(&c.Node, "node_"+strings.ToLower(rand.Text()[:8]))
	def(&c.RingBytes, 64<<20)
	if c.Enrolled == nil {
		c.Enrolled = func(string) bool { return true }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports the first field that no engine could run with, by name. It
// expects the defaults to be set.
func (c Config) Validate() error {
	if problems := c.Problems(); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// Problems reports all fields that no engine could run with, each by its name. It
// expects the defaults to be set.
func (c Config) Problems() (all []error) {
	for _, rule := range []struct {
		field string
		ok    bool
		limit string
	}{
		{"Redis", c.Redis != "", "must be a redis:// or rediss:// URL"},
		{"Postgres", c.Postgres != "", "must be a postgres:// URL"},
		{"Prefix", validPrefix(c.Prefix), "must be 1 to 64 characters of [A-Za-z0-9_.:-]"},
		{"Partitions", c.Partitions >= 1 && c.Partitions <= run.MaxPartitions, fmt.Sprintf("must be 1 to %d", run.MaxPartitions)},
		{"Shards", c.Shards >= 1 && c.Shards <= c.Partitions, "must be 1 to Partitions"},
		{"ClaimTTL", c.ClaimTTL >= 5*time.Second && c.ClaimTTL <= 30*time.Second, "must be 5s to 30s"},
		{"WaitBudget", c.WaitBudget > 0 && c.WaitBudget <= time.Minute, "must be more than 0 and at most 1m"},
		{"RedisDeadline", c.RedisDeadline >= 10*time.Millisecond && c.RedisDeadline <= 10*time.Second, "must be 10ms to 10s"},
		{"PostgresDeadline", c.PostgresDeadline >= 100*time.Millisecond && c.PostgresDeadline <= time.Minute, "must be 100ms to 1m"},
		{"PostgresConns", c.PostgresConns >= 4 && c.PostgresConns <= 1000, "must be 4 to 1000"},
		{"DropHook", !c.DropHook || c.OnMaterialised == nil, "must not be set together with OnMaterialised"},
		{"MaxCallers", c.MaxCallers >= 1, "must be at least 1"},
		{"MaxBytes", c.MaxBytes >= run.MaxPayload, fmt.Sprintf("must be at least %d", run.MaxPayload)},
		{"Node", validNode(c.Node), "must be 1 to 64 printable characters"},
		{"Buffer.MaxEntries", c.Buffer.MaxEntries >= 1, "must be at least 1"},
		{"Buffer.MaxBytes", c.Buffer.MaxBytes >= run.MaxPayload, fmt.Sprintf("must be at least %d", run.MaxPayload)},
		{"Buffer.TotalEntries", c.Buffer.TotalEntries >= c.Buffer.MaxEntries, "must be at least Buffer.MaxEntries"},
		{"Buffer.TotalBytes", c.Buffer.TotalBytes >= c.Buffer.MaxBytes, "must be at least Buffer.MaxBytes"},
		{"Buffer.MaxAge", c.Buffer.MaxAge >= time.Minute, "must be at least 1m"},
		{"Retention.Runs", c.Retention.Runs == 0 || c.Retention.Runs >= minRetention, "must be 0, or at least 1m"},
		{"Retention.Audit", c.Retention.Audit == 0 || c.Retention.Audit >= minRetention, "must be 0, or at least 1m"},
	} {
		if !rule.ok {
			all = append(all, fmt.Errorf("mollifier: Config.%s %s", rule.field, rule.limit))
		}
	}
	return all
}

func validPrefix(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !strings.ContainsRune("_.:-", rune(c)) && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func validNode(s string) bool {
	n := utf8.RuneCountInString(s)
	return n >= 1 && n <= 64 && !strings.ContainsFunc(s, func(c rune) bool { return c == utf8.RuneError || !unicode.IsPrint(c) })
}

// postgresBudget is how long Postgres may take over what a caller waits for,
// retries included. A server that hangs keeps no statement timeout of its own.
func (c Config) postgresBudget() time.Duration { return 2 * c.PostgresDeadline }
