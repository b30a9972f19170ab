package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/live"
	"github.com/e0ff5a15/mollifier/packet"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/runstore/schema"
	"github.com/e0ff5a15/mollifier/tenant"
)

// node is one serving node: what start has opened, and what stop closes again in
// the opposite order. A field is nil while it is not open.
type node struct {
	set  *settings
	log  *slog.Logger
	stop chan error // why the node has to end by itself; holds the first reason

	api, admin *front
	stores     *stores
	tenants    *tenant.Directory
	observed   *observed
	recorder   *recorder // nil for none
	engine     *mollifier.Engine
	packets    httpapi.Packets // nil for none
	disk       *packet.Disk    // the same, if it is a folder
	probe      *probe
	live       *live.Recorder
	loops      loops           // that need the engine
	seeded     []tenant.Seeded // the environments that a newcomer tries
}

func (a *app) serveCommand(ctx context.Context, set *settings) error {
	if err := set.check(); err != nil {
		return err
	}
	return a.serve(ctx, set, set.logger(a.stderr), func(i devstack.Info) {
		welcome(a.stdout, quoteShell(os.Args[0]), set.data, i)
	})
}

// serve runs a node until ctx ends, and calls ready once it answers requests.
// The error is why the node could not start, had to end by itself, or could not
// stop in order; a node that was told to stop and did so has none.
func (a *app) serve(ctx context.Context, set *settings, log *slog.Logger, ready func(devstack.Info)) error {
	redisdb.LogDriver(log)
	n := &node{set: set, log: log, stop: make(chan error, 1)}
	info, err := n.start(ctx)
	if err == nil {
		ready(info)
		select {
		case <-ctx.Done():
			log.Info("stopping")
		case err = <-n.stop:
			log.Error("stopping by itself", slog.Any("error", err))
		}
	} else if ctx.Err() != nil {
		log.Info("stopped before the start was complete")
		err = nil
	}
	// Told to stop or not, what was accepted is answered: ctx has ended already.
	return errors.Join(err, n.close(context.WithoutCancel(ctx)))
}

// fail ends the node; only the first reason counts.
func (n *node) fail(err error) {
	select {
	case n.stop <- err:
	default:
	}
}

// start opens everything, from the addresses and stores up to the listeners. When
// it fails, what is open already is left for close.
func (n *node) start(ctx context.Context) (info devstack.Info, err error) {
	set := n.set
	if n.api, err = listen(ctx, "listen", set.listen); err != nil {
		return info, err
	}
	if set.admin != offListener {
		if n.admin, err = listen(ctx, "admin", set.admin); err != nil {
			return info, err
		}
		if !n.admin.loopback() {
			n.log.Warn("the admin listener asks for no credential but for changes, and other machines can reach it", slog.String("address", set.admin))
		}
	}
	if n.stores, err = openStores(ctx, set, n.log); err != nil {
		return info, err
	}
	if err := schema.Migrate(ctx, n.stores.postgres); err != nil {
		return info, fmt.Errorf("-postgres: %w", err)
	}
	if err := n.openTenants(ctx); err != nil {
		return info, explainTenant(err)
	}
	if set.admin != offListener {
		if err := (adminTokens{set.adminTokens}).make(); err != nil {
			return info, fmt.Errorf("-admin-tokens: %w", err)
		}
	}
	set.engine.Node = set.nodeName(n.api)
	if n.observed, err = observe(ctx, set, buildVersion(), n.log); err != nil {
		return info, err
	}
	config := set.engine
	config.MeterProvider = n.observed.meters
	if n.observed.tracers != nil {
		config.TracerProvider = n.observed.tracers
	}
	config.Redis, config.Postgres = n.stores.redis, n.stores.postgres
	config.Enrolled, config.Logger = n.tenants.Enrolled, n.log
	config.Retention.Of = func(environment string) time.Duration {
		if e, known := n.tenants.Environment(environment); known && e.Keep != 0 {
			return e.Keep
		}
		return set.engine.Retention.Runs
	}
	if n.engine, err = mollifier.New(ctx, config); err != nil {
		return info, flagNamed(err)
	}
	if err := n.openPackets(ctx); err != nil {
		return info, fmt.Errorf("-packets: %w", err)
	}
	if err := n.openRecorder(); err != nil {
		return info, err
	}
	if err := n.openGateRecord(); err != nil {
		return info, err
	}
	n.serveFronts()
	if info, err = n.publish(); err != nil {
		return info, err
	}
	n.loops.start(n.probe.loop, n.packetLoop, n.live.Run)
	if n.stores.stack != nil {
		n.loops.start(n.watchLoop)
	}
	return info, nil
}

// openTenants reads who may trigger, after the seeds were made if they are
// wanted.
func (n *node) openTenants(ctx context.Context) error {
	key, err := n.set.secretKey()
	if err != nil {
		return err
	}
	config := tenant.Config{URL: n.stores.postgres, SecretKey: key, Logger: n.log}
	if n.set.seed {
		admin, err := tenant.NewAdmin(config)
		if err != nil {
			return err
		}
		if n.seeded, err = admin.Seed(ctx); err != nil {
			return err
		}
	}
	n.tenants, err = tenant.Open(ctx, config)
	return err
}

// publish writes stack.json.
func (n *node) publish() (devstack.Info, error) {
	admin, token := "", ""
	if n.admin != nil {
		all, err := adminTokens{n.set.adminTokens}.read()
		if err != nil {
			return devstack.Info{}, fmt.Errorf("-admin-tokens: %w", err)
		}
		admin, token = n.admin.url(), all[0].token
	}
	return n.stores.publish(n.api.url(), admin, token, n.seeded)
}

func (n *node) serveFronts() {
	n.probe, n.live = newProbe(n.engine.Ready), n.newLive()
	config := httpapi.Config{
		Engine: n.engine, Tenants: n.tenants, Ready: n.probe.ready, Full: n.engine.Full, Logger: n.log, Version: buildVersion(),
		MaxBytes: n.set.engine.MaxBytes, Packets: n.packets, PublicURL: n.set.publicURL,
		RateLimit: n.set.rateLimit, Origins: n.set.origins(), Telemetry: n.observed.http,
	}
	if n.recorder != nil {
		config.Triggered = n.recorder.triggered
	}
	n.api.serve(httpapi.NewServer(httpapi.New(config), httpapi.Limits{}, n.log), n.fail)
	if n.admin != nil {
		n.admin.serve(httpapi.NewServer(n.adminHandler(), httpapi.AdminLimits(), n.log), n.fail)
	}
}

// close stops in this order, so that nothing is asked of what is gone: readiness,
// intake (callers under way are answered), the engine's flights, the loops, the
// tenants, the admin listener, the stores. All of it together takes at most the
// stop timeout, of which the stores keep a third for an orderly end.
func (n *node) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.set.stopTimeout)
	defer cancel()
	serving, cancelServing := context.WithTimeout(ctx, n.set.stopTimeout*2/3)
	defer cancelServing()

	var errs []error
	if n.probe != nil {
		n.probe.stopping()
	}
	if n.api != nil {
		errs = append(errs, n.api.stop(serving))
	}
	n.loops.stop()
	n.recorder.close()
	if n.engine != nil {
		if err := n.engine.Close(serving); err != nil {
			errs = append(errs, fmt.Errorf("the engine was cut off: %w", err))
		}
	}
	if n.observed != nil {
		n.observed.close(serving)
	}
	if n.disk != nil {
		errs = append(errs, n.disk.Close())
	}
	if n.tenants != nil {
		n.tenants.Close()
	}
	if n.admin != nil {
		// A profile that is being taken is no reason to wait.
		short, cancelShort := context.WithTimeout(serving, 100*time.Millisecond)
		_ = n.admin.stop(short)
		cancelShort()
	}
	if n.stores != nil {
		errs = append(errs, n.stores.close(ctx))
	}
	return errors.Join(errs...)
}

// secretKey is what API keys are sealed with: the given key, or the one in the
// file, which is made if it is missing.
func (s *settings) secretKey() (tenant.Secret, error) {
	if s.secret != "" {
		return tenant.ParseSecretKey(s.secret)
	}
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return tenant.Secret{}, err
	}
	key, err := tenant.LoadOrCreateSecret(s.secretFile)
	if err != nil {
		return key, fmt.Errorf("-secret-key-file: %w", err)
	}
	return key, nil
}
