//go:build unix

package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options say where and how the default stack runs.
type Options struct {
	// Dir is the data folder; it is made if need be. One live stack at a time may
	// use it.
	Dir string
	// Log receives a few lines about what was started, found or moved; never a
	// password. Nil discards them.
	Log *slog.Logger

	elsewhere string // overrides the constant in tests
}

// Stack is a running pair of stores in a locked data folder. Its methods are
// safe for concurrent use.
type Stack struct {
	dir      string
	log      *slog.Logger
	lock     *FileLock
	moved    *FileLock // on the folder Postgres was moved to, if it was
	redis    *Redis
	postgres *Postgres

	mu      sync.Mutex
	info    Info
	stopped bool
}

// Start starts a durable private Redis and Postgres in the data folder, with
// what they held when they were last stopped or killed, and returns when both
// answer. Servers that a killed node left running are taken over as they are, so
// that other nodes that use them notice nothing. If ctx ends first, or one of the
// two does not start, nothing is left running.
//
// It returns an error that is [ErrLocked] if a live process uses the folder, and
// a [*MissingError] if a server program is not installed.
func Start(ctx context.Context, o Options) (_ *Stack, err error) {
	s := &Stack{log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.dir, err = dataFolder(o.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abandon())
		}
	}()
	if s.lock, err = lockFolder(s.dir); err != nil {
		return nil, err
	}
	if s.redis, err = NewRedis(RedisConfig{Dir: filepath.Join(s.dir, "redis")}); err != nil {
		return nil, err
	}
	if s.postgres, err = NewPostgres(PostgresConfig{Dir: filepath.Join(s.dir, "postgres"), elsewhere: o.elsewhere}); err != nil {
		return nil, err
	}
	// Both programs are looked for before either is started, so that who lacks
	// both is told so at once.
	if err := missing(ctx); err != nil {
		return nil, err
	}
	if err := s.postgres.prepare(ctx); err != nil {
		return nil, err
	}
	if moved := s.postgres.MovedTo(); moved != "" {
		s.log.Info("Postgres's files are outside the data folder, which the user it runs as cannot reach", "folder", moved)
		// A copied data folder brings the link with it: two of them must not lead
		// to one database at the same time.
		if s.moved, err = lockFolder(filepath.Dir(moved)); err != nil {
			return nil, err
		}
	}
	if err := s.startBoth(ctx); err != nil {
		return nil, err
	}
	s.info = Info{
		State: StateRunning, PID: os.Getpid(), StartedAt: time.Now().UTC(),
		Redis:        Store{URL: s.redis.URL(), PID: s.redis.PID()},
		Postgres:     Store{URL: s.postgres.URL(), PID: s.postgres.PID()},
		Environments: lastInfo(s.dir).Environments,
	}
	return s, WriteInfo(s.dir, s.info)
}

func (s *Stack) startBoth(ctx context.Context) error {
	var wait sync.WaitGroup
	var redisErr, postgresErr error
	wait.Go(func() { redisErr = s.redis.Start(ctx) })
	wait.Go(func() { postgresErr = s.postgres.Start(ctx) })
	wait.Wait()
	if err := errors.Join(redisErr, postgresErr); err != nil {
		return err
	}
	s.log.Info("the private stores are ready", "folder", s.dir,
		"redis", s.redis.Addr(), "redis_found_running", s.redis.Adopted(),
		"postgres", s.postgres.Addr(), "postgres_found_running", s.postgres.Adopted())
	return nil
}

// missing names every program that cannot be found.
func missing(ctx context.Context) error {
	l := systemLookup()
	_, redisErr := l.redis(ctx)
	_, _, postgresErr := l.postgres(ctx, 0)
	return errors.Join(redisErr, postgresErr)
}

// dataFolder makes the data folder and returns its absolute path, symlinks
// resolved. One that is made here by root lets the user Postgres runs as pass,
// and nobody list it; one that was there is left as it is.
func dataFolder(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("devstack: no data folder is given")
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		mode := os.FileMode(0o700)
		if os.Geteuid() == 0 {
			mode = 0o711
		}
		if err := os.MkdirAll(dir, mode); err != nil {
			return "", err
		}
		if err := os.Chmod(dir, mode); err != nil {
			return "", err
		}
	}
	return resolve(dir)
}

func lockFolder(dir string) (*FileLock, error) {
	l, err := OpenLock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	ok, err := l.TryExclusive()
	if err == nil && !ok {
		err = fmt.Errorf("devstack: %s: %w; stop it, or choose another folder, or give the new node the addresses of the stores", dir, ErrLocked)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Dir is the data folder's absolute path.
func (s *Stack) Dir() string { return s.dir }

// RedisURL is how to connect to Redis, password included: keep it out of logs.
func (s *Stack) RedisURL() string { return s.redis.URL() }

// PostgresURL is how to connect to Postgres, password included: keep it out of
// logs.
func (s *Stack) PostgresURL() string { return s.postgres.URL() }

// Info is the present content of stack.json. Environments are there from the
// last run if the node wrote them.
func (s *Stack) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := s.info
	info.Environments = append([]Environment(nil), info.Environments...)
	return info
}

// Update changes stack.json: the node fills in its listeners and environments.
// change must not call the stack's methods.
func (s *Stack) Update(change func(*Info)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("devstack: the stack is stopped")
	}
	change(&s.info)
	return WriteInfo(s.dir, s.info)
}

// Stop ends both servers in an orderly way, marks stack.json as stopped and
// gives the data folder free. If ctx ends first the servers are killed: what
// they answered is on disk nevertheless. A second Stop does nothing.
func (s *Stack) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	var wait sync.WaitGroup
	var redisErr, postgresErr error
	wait.Go(func() { redisErr = s.redis.Stop(ctx) })
	wait.Go(func() { postgresErr = s.postgres.Stop(ctx) })
	wait.Wait()
	s.info = Info{State: StateStopped, Environments: s.info.Environments}
	return errors.Join(redisErr, postgresErr, WriteInfo(s.dir, s.info), s.unlock())
}

// abandon undoes a start that failed.
func (s *Stack) abandon() error {
	ctx, cancel := context.WithTimeout(context.Background(), killWithin)
	defer cancel()
	var errs []error
	if s.redis != nil {
		errs = append(errs, s.redis.Stop(ctx))
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop(ctx))
	}
	return errors.Join(append(errs, s.unlock())...)
}

func (s *Stack) unlock() error {
	var errs []error
	for _, l := range []*FileLock{s.moved, s.lock} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}
