package peers

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/redis/rueidis"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

var (
	//go:embed lua/claim.lua
	claimText string
	//go:embed lua/accept.lua
	acceptText string
	//go:embed lua/publish.lua
	publishText string
)

// script runs one script and returns its reply, when it is a string.
type script func(ctx context.Context, keys, args []string) (string, error)

// reference is the mollifier's protocol trigger by trigger: claim, trip, accept,
// publish, each a script and a round trip of its own.
type reference struct{ claim, trip, accept, publish script }

func (r *reference) trigger(ctx context.Context, prefix, key string, payload []byte) error {
	token, id := rand.Text(), newID()
	claim, lookup := prefix+"claim:"+key, prefix+"lookup:"+key
	got, err := r.claim(ctx, []string{claim, lookup}, []string{token, "10000"})
	if err != nil {
		return err
	}
	if got != "claimed" {
		return fmt.Errorf("the key is taken: %q", got)
	}
	if _, err := r.trip(ctx, []string{prefix + "rate", prefix + "tripped"}, []string{"200", "100", "500"}); err != nil {
		return err
	}
	snapshot, err := json.Marshal(map[string]any{
		"id": id, "task": "bench", "environment": "bench", "organisation": "bench", "idempotencyKey": key,
		"payload": string(payload), "payloadType": "application/json", "queue": "task/bench",
	})
	if err != nil {
		return err
	}
	got, err = r.accept(ctx,
		[]string{prefix + "entry:" + id, prefix + "queue:bench", lookup, prefix + "envs:bench", prefix + "orgs"},
		[]string{id, "bench", "bench", string(snapshot), strconv.FormatInt(time.Now().UnixMilli(), 10)})
	if err != nil {
		return err
	}
	if got != "accepted" {
		return fmt.Errorf("not accepted: %q", got)
	}
	_, err = r.publish(ctx, []string{claim}, []string{token, id, "60000"})
	return err
}

func (r *reference) contestant(name string, payload []byte, end func()) *load.Contestant {
	prefix, keys := load.Fresh(), load.Fresh()
	return &load.Contestant{
		Name:  "reference protocol, " + name,
		Do:    func(ctx context.Context, i int) error { return r.trigger(ctx, prefix, keys+strconv.Itoa(i), payload) },
		Close: end,
	}
}

// ReferencePool runs the reference protocol over a pool of connections.
func ReferencePool(s *load.Stores, conns int, payload []byte) (*load.Contestant, error) {
	o, err := redis.ParseURL(s.Redis)
	if err != nil {
		return nil, err
	}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.PoolSize = conns
	c := redis.NewClient(o)
	run := func(text string) script {
		compiled := redis.NewScript(text)
		return func(ctx context.Context, keys, args []string) (string, error) {
			argv := make([]any, len(args))
			for i := range args {
				argv[i] = args[i]
			}
			reply, err := compiled.Run(ctx, c, keys, argv...).Result()
			got, _ := reply.(string)
			return got, err
		}
	}
	r := &reference{run(claimText), run(tripText), run(acceptText), run(publishText)}
	return r.contestant("pool of "+strconv.Itoa(conns), payload, func() { _ = c.Close() }), nil
}

// ReferencePipelined runs the reference protocol through a client that pipelines
// by itself. delay is how long it may gather before it sends; zero sends at once.
func ReferencePipelined(s *load.Stores, delay time.Duration, payload []byte) (*load.Contestant, error) {
	o, err := rueidis.ParseURL(s.Redis)
	if err != nil {
		return nil, err
	}
	o.DisableCache, o.AlwaysPipelining, o.MaxFlushDelay = true, true, delay
	c, err := rueidis.NewClient(o)
	if err != nil {
		return nil, err
	}
	run := func(text string) script {
		compiled := rueidis.NewLuaScript(text)
		return func(ctx context.Context, keys, args []string) (string, error) {
			reply := compiled.Exec(ctx, c, keys, args)
			got, _ := reply.ToString()
			return got, reply.Error()
		}
	}
	r := &reference{run(claimText), run(tripText), run(acceptText), run(publishText)}
	return r.contestant(fmt.Sprintf("pipelined, gathering %v", delay), payload, c.Close), nil
}
