package redisdb

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dialError is a connection that was not made. Its text holds no address:
// whatever becomes of the error, it leaves the address here.
type dialError struct{ reason string }

func (e *dialError) Error() string { return "no connection: " + e.reason }

func dialReason(err error) string {
	var (
		name   *net.DNSError
		number syscall.Errno
		timed  net.Error
		cert   *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &name):
		return "the name could not be resolved"
	case errors.As(err, &cert):
		return "the server's certificate was not accepted"
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, context.Canceled):
		return "the caller left"
	case errors.As(err, &timed) && timed.Timeout():
		return "no answer within the deadline"
	}
	return "the handshake failed"
}

// dialer connects within the context it is given, TLS included.
func dialer(conf *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	dial := plain.DialContext
	if conf != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: conf}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, &dialError{dialReason(err)}
		}
		return conn, nil
	}
}

// client connects to one server. No connection is made yet.
//
// Retries are off: a repetition is decided by who knows the outcome, and a
// client that repeats by itself multiplies an outage's latency. RESP2, because
// nothing here needs push messages, and a connection that may receive them at
// any time costs a check for each use.
func (c Config) client(opt redis.Options) *redis.Client {
	opt.Protocol = 2
	opt.ClientName = c.ClientName
	opt.DisableIdentity = true
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opt.MaxRetries = -1
	opt.DialerRetries = 1
	opt.DialTimeout = c.dialTimeout()
	opt.ReadTimeout = c.Deadline
	opt.WriteTimeout = c.Deadline
	opt.PoolTimeout = c.Deadline
	opt.ContextTimeoutEnabled = true
	opt.PoolSize = c.Conns
	opt.MaxActiveConns = c.Conns
	opt.PipelinePoolSize = -1 // everything here is a pipeline: one pool
	opt.Dialer = dialer(opt.TLSConfig)
	return redis.NewClient(&opt)
}

// failover connects to the server that the sentinels name, and after a failover to
// the one that they name then: the connections to the old one are closed when they
// announce it, and when one answers that it is read-only.
func (c Config) failover(a *address) *redis.Client {
	conf := perHost(a.options.TLSConfig)
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: a.sentinel.master, SentinelAddrs: a.seeds,
		SentinelUsername: a.sentinel.username, SentinelPassword: a.sentinel.password,
		Username: a.options.Username, Password: a.options.Password, DB: a.options.DB, TLSConfig: conf,
		Protocol:              2,
		ClientName:            c.ClientName,
		DisableIdentity:       true,
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           c.dialTimeout(),
		ReadTimeout:           c.Deadline,
		WriteTimeout:          c.Deadline,
		PoolTimeout:           c.Deadline,
		ContextTimeoutEnabled: true,
		PoolSize:              c.Conns,
		MaxActiveConns:        c.Conns,
		PipelinePoolSize:      -1,
		Dialer:                dialer(conf),
	})
}

// slots is a client that knows the slots of the cluster that the seeds belong to,
// and has a client like [Config.client] for each of its servers.
func (c Config) slots(a *address) *redis.ClusterClient {
	conf := perHost(a.options.TLSConfig)
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                    a.seeds,
		Username:                 a.options.Username,
		Password:                 a.options.Password,
		TLSConfig:                conf,
		Protocol:                 2,
		ClientName:               c.ClientName,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxRetries:               -1,
		DialerRetries:            1,
		DialTimeout:              c.dialTimeout(),
		ReadTimeout:              c.Deadline,
		WriteTimeout:             c.Deadline,
		PoolTimeout:              c.Deadline,
		ContextTimeoutEnabled:    true,
		PoolSize:                 c.Conns,
		MaxActiveConns:           c.Conns,
		PipelinePoolSize:         -1,
		Dialer:                   dialer(conf),
	})
}

// perHost has each server's certificate checked by the name that the server was
// reached by, where the URL's may be another's.
func perHost(conf *tls.Config) *tls.Config {
	if conf == nil {
		return nil
	}
	conf = conf.Clone()
	conf.ServerName = ""
	return conf
}

// dialTimeout lets a slow handshake end after the call that began it was given
// up: the next call finds the connection made.
func (c Config) dialTimeout() time.Duration { return max(4*c.Deadline, time.Second) }
