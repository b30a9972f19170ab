package redisdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

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

	servers string // the run ids of all that answered
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
	first, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	var to servers = single{&server{client: first, breaker: d.cfg.fresh()}}
	var client redis.UniversalClient = first
	keep := false
	defer func() {
		if !keep {
			_ = to.close()
		}
	}()
	caps, err := ask(ctx, first)
	if err != nil {
		return nil, err
	}
	if caps.Cluster {
		if d.address.options.DB != 0 {
			return nil, unfit("Config.URL names database %d, but a Redis Cluster has only database 0", d.address.options.DB)
		}
		_ = to.close()
		slots := d.cfg.slots(d.address)
		client, to = slots, newCluster(slots, d.cfg.at(d.address), d.cfg.fresh)
		if err := to.look(ctx); err != nil {
			return nil, err
		}
		if caps, err = askAll(ctx, to.all()); err != nil {
			return nil, err
		}
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
	d.clock.know(strings.Fields(caps.servers))
	d.unbroken.opened(run.Instant(now.UnixMicro()))
	keep = true
	return &link{servers: to, caps: caps, wait: wait}, nil
}

// dial returns a client of the first server that answers of those that are named.
func (d *DB) dial(ctx context.Context) (client *redis.Client, err error) {
	if d.address.sentinel != nil {
		client = d.cfg.failover(d.address)
		if err := client.Ping(ctx).Err(); err != nil {
			_ = client.Close()
			return nil, err
		}
		return client, nil
	}
	at := d.cfg.at(d.address)
	for _, seed := range append(d.address.seeds, d.address.options.Addr) {
		client = at(seed)
		if err = client.Ping(ctx).Err(); err == nil {
			return client, nil
		}
		_ = client.Close()
		if len(d.address.seeds) <= 1 {
			break
		}
	}
	return nil, err
}

// at makes clients of servers that share all but their address.
func (c Config) at(a *address) func(addr string) *redis.Client {
	return func(addr string) *redis.Client {
		opt := a.options
		if opt.TLSConfig = opt.TLSConfig.Clone(); len(a.seeds) > 1 || addr != opt.Addr {
			opt.TLSConfig = perHost(opt.TLSConfig)
		}
		opt.Addr = addr
		return c.client(opt)
	}
}

// ask examines one server.
func ask(ctx context.Context, client *redis.Client) (Capabilities, error) {
	info, err := client.Info(ctx).Result()
	if err != nil {
		return Capabilities{}, err
	}
	caps, err := examine(parseInfo(info))
	if err != nil {
		return caps, err
	}
	// Managed servers forbid CONFIG: not to know is no obstacle.
	if found, err := client.ConfigGet(ctx, "appendfsync").Result(); err == nil && caps.AOF {
		caps.Fsync = found["appendfsync"]
	}
	return caps, nil
}

// askAll examines the masters of a cluster: what it can do is what each can. One that
// does not answer is out, with its partitions, and is no reason for the others to be;
// it is examined by [DB.Examine] when it is back.
func askAll(ctx context.Context, masters []*server) (Capabilities, error) {
	type answer struct {
		caps Capabilities
		err  error
	}
	answers := make([]answer, len(masters))
	var asked sync.WaitGroup
	for i, s := range masters {
		asked.Go(func() { answers[i].caps, answers[i].err = ask(ctx, s.client) })
	}
	asked.Wait()
	var caps Capabilities
	first, last := true, error(nil)
	for _, a := range answers {
		var answered *unfitError
		switch {
		case errors.As(a.err, &answered):
			return a.caps, a.err
		case a.err != nil:
			last = a.err
		case first:
			caps, first = a.caps, false
		default:
			caps.servers += " " + a.caps.servers
			caps.Replicas = min(caps.Replicas, a.caps.Replicas)
			caps.AOF = caps.AOF && a.caps.AOF
			caps.WaitAOF = caps.WaitAOF && a.caps.WaitAOF
			if caps.Fsync != a.caps.Fsync {
				caps.Fsync = "" // not one answer for all
			}
		}
	}
	if first {
		return caps, last
	}
	return caps, nil
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
	caps.servers = info["run_id"]
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
