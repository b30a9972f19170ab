package redisdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/run"
)

// Capabilities is what Redis said about itself when the DB was opened. It
// may change afterwards.
type Capabilities struct {
	Version string // of Redis, or of the Redis that a Valkey is compatible with
	Valkey  string // version, if the server is Valkey
	Cluster bool
	AOF     bool   // writes go to an append-only file
	Fsync   string // "always", "everysec", "no"; empty if the server does not tell
	WaitAOF bool   // WAITAOF can be relied on: Redis 7.4.3, Valkey 8, or later
	// Replicas connected; on Cluster those of the master that has fewest.
	Replicas int
}

// Open connects and checks that this Redis can be used: version 7.0 or later,
// a policy that never evicts, and the same partitions and key hashing as every
// other node of the deployment, which the first node to open lays down.
//
// An error that wraps [run.ErrUnavailable] means that Redis did not answer;
// try again later: until Open has succeeded, every call is refused. Any other
// error is a setting that a person must change, and names it. After a success,
// Open returns what it found then.
func (d *DB) Open(ctx context.Context) (Capabilities, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return Capabilities{}, unavailable(classify(redis.ErrClosed), 0)
	}
	if l := d.link.Load(); l != nil {
		return l.caps, nil
	}
	l, err := d.open(ctx)
	if err != nil {
		var answered *unfitError
		if errors.As(err, &answered) {
			return Capabilities{}, answered
		}
		return Capabilities{}, unavailable(classify(err), 0)
	}
	d.link.Store(l)
	return l.caps, nil
}

// unfitError is a Redis that answered, and can not be used.
type unfitError struct {
	text string
	kind error // ErrDisagrees, or nil
}

func (e *unfitError) Error() string { return "redisdb: " + e.text }

func (e *unfitError) Unwrap() error { return e.kind }

func disagreement(format string, args ...any) error {
	return &unfitError{fmt.Sprintf(format, args...), ErrDisagrees}
}

func unfit(format string, args ...any) error { return &unfitError{fmt.Sprintf(format, args...), nil} }

// open returns an unfitError, or whatever go-redis returned.
func (d *DB) open(ctx context.Context) (*link, error) {
	var client redis.UniversalClient = d.cfg.client(d.options)
	keep := false
	defer func() {
		if !keep {
			_ = client.Close()
		}
	}()

	info, err := client.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	caps, err := examine(parseInfo(info))
	if err != nil {
		return nil, err
	}
	if caps.Cluster {
		if d.options.DB != 0 {
			return nil, unfit("Config.URL names database %d, but a Redis Cluster has only database 0", d.options.DB)
		}
		_ = client.Close()
		cluster := d.cfg.cluster(d.options)
		client = cluster
		if err := examineMasters(ctx, cluster, &caps); err != nil {
			return nil, err
		}
	}
	// Managed servers forbid CONFIG: not to know is no obstacle.
	if found, err := client.ConfigGet(ctx, "appendfsync").Result(); err == nil && caps.AOF {
		caps.Fsync = found["appendfsync"]
	}
	if err := d.agree(ctx, client); err != nil {
		return nil, err
	}
	wait, err := d.cfg.wait(&caps)
	if err != nil {
		return nil, err
	}
	now, err := client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	d.unbroken.opened(run.Instant(now.UnixMicro()))
	keep = true
	return &link{client: client, caps: caps, wait: wait}, nil
}

func examineMasters(ctx context.Context, cluster *redis.ClusterClient, caps *Capabilities) error {
	type found struct {
		caps Capabilities
		err  error
	}
	masters := make(chan found)
	done := make(chan error, 1)
	go func() {
		done <- cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			info, err := c.Info(ctx).Result()
			if err != nil {
				return err
			}
			one, err := examine(parseInfo(info))
			masters <- found{one, err}
			return nil
		})
		close(masters)
	}()
	var unfit error
	first := true
	for m := range masters {
		switch {
		case m.err != nil:
			unfit = m.err
		case first:
			*caps, first = m.caps, false
		default:
			caps.Replicas = min(caps.Replicas, m.caps.Replicas)
			caps.AOF = caps.AOF && m.caps.AOF
			caps.WaitAOF = caps.WaitAOF && m.caps.WaitAOF
		}
	}
	if err := <-done; err != nil {
		return err
	}
	return unfit
}

// examine judges one server by its INFO.
func examine(info map[string]string) (Capabilities, error) {
	caps := Capabilities{
		Version: info["redis_version"],
		Valkey:  info["valkey_version"],
		Cluster: info["cluster_enabled"] == "1",
		AOF:     info["aof_enabled"] == "1",
	}
	caps.Replicas, _ = strconv.Atoi(info["connected_slaves"])
	if !atLeast(caps.Version, 7, 0, 0) {
		return caps, unfit("Redis %q is too old: version 7.0 or later is needed (scripts with flags)", caps.Version)
	}
	if policy := info["maxmemory_policy"]; policy != "noeviction" {
		return caps, unfit("Redis setting maxmemory-policy is %q and must be noeviction, or claims and buffered runs vanish when memory is short: "+
			"put \"maxmemory-policy noeviction\" into its configuration, or run CONFIG SET maxmemory-policy noeviction", policy)
	}
	if caps.Valkey != "" {
		caps.WaitAOF = atLeast(caps.Valkey, 8, 0, 0)
	} else {
		caps.WaitAOF = atLeast(caps.Version, 7, 4, 3) // earlier ones lack it, or answer too early
	}
	return caps, nil
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// atLeast compares dotted versions; one that can not be read is older than all.
func atLeast(version string, want ...int) bool {
	parts := strings.Split(version, ".")
	for i, w := range want {
		if i == len(parts) {
			return w == 0
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return false
		}
		if n != w {
			return n > w
		}
	}
	return true
}

// agree lays down what all nodes must share, or compares with it. A key's
// partition and hash say where its record is: nodes that compute them in two
// ways would both own one key.
func (d *DB) agree(ctx context.Context, client redis.UniversalClient) error {
	hashing := run.Key{}.Encode(nil)[0] // the version byte of the encoding
	mine := fmt.Sprintf("1|%d|%d", d.cfg.Partitions, hashing)
	pipe := client.Pipeline()
	pipe.SetNX(ctx, d.names.Deployment(), mine, 0)
	held := pipe.Get(ctx, d.names.Deployment())
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	if held.Val() == mine {
		return nil
	}
	var partitions, version int
	if n, _ := fmt.Sscanf(held.Val(), "1|%d|%d", &partitions, &version); n != 2 {
		return unfit("the deployment record in Redis is of another form: it was written by another version of this program")
	}
	return disagreement("this node is configured with %d partitions and hashes keys in version %d, but the deployment in Redis has %d partitions and version %d: they are fixed for its life",
		d.cfg.Partitions, hashing, partitions, version)
}
