//go:build unix

package stacktest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// startWithin bounds the start of the shared servers, first initdb included, on
// a machine that is busy compiling.
const startWithin = 3 * time.Minute

// stopWithin bounds an orderly stop.
const stopWithin = 30 * time.Second

// databasePrefix marks databases that belong to a test.
const databasePrefix = "t_"

// stack is this process's hold on the shared servers.
type stack struct {
	base     string
	redis    *devstack.Redis
	postgres *devstack.Postgres
	users    *devstack.FileLock // shared while this process uses the servers
}

var held struct {
	sync.Mutex
	stack *stack
}

// hold returns the shared servers, starting or finding them on first use.
func hold(ctx context.Context) (*stack, error) {
	held.Lock()
	defer held.Unlock()
	if held.stack != nil {
		return held.stack, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	base, err := baseFolder()
	if err != nil {
		return nil, err
	}
	s, err := enter(ctx, base)
	if err != nil {
		return nil, err
	}
	held.stack = s
	return s, nil
}

// Hold keeps the shared servers running until release is called, over as many
// test binaries as come and go meanwhile. The last holder's release stops them.
func Hold(ctx context.Context) (release func() error, err error) {
	if _, err := hold(ctx); err != nil {
		return nil, err
	}
	return letGo, nil
}

func letGo() error {
	held.Lock()
	defer held.Unlock()
	if held.stack == nil {
		return nil
	}
	s := held.stack
	held.stack = nil
	return s.leave()
}

// baseFolder is the folder of everything, one per user. Its place is known to
// everybody, so it is used only if it is ours.
func baseFolder() (string, error) {
	base := filepath.Join(os.TempDir(), "mollifier-test-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(base, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	st, err := os.Lstat(base)
	if err != nil {
		return "", err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !st.IsDir() || !ok || int(sys.Uid) != os.Getuid() {
		return "", fmt.Errorf("stacktest: %s is not a folder of ours", base)
	}
	// Passable for the user Postgres runs as, whatever the umask says.
	return base, os.Chmod(base, 0o711)
}

// enter joins the users of the servers. Coming and going happens under one lock,
// so that nobody stops what another is about to use.
func enter(ctx context.Context, base string) (s *stack, err error) {
	door, err := devstack.OpenLock(filepath.Join(base, "door.lock"))
	if err != nil {
		return nil, err
	}
	defer door.Close()
	if err := door.Exclusive(ctx); err != nil {
		return nil, fmt.Errorf("stacktest: wait for another test process to start or stop the servers: %w", err)
	}
	users, err := devstack.OpenLock(filepath.Join(base, "users.lock"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			users.Close()
		}
	}()
	alone, err := users.TryExclusive()
	if err != nil {
		return nil, err
	}
	s = &stack{base: base, users: users}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if alone {
		if err := s.clean(ctx); err != nil {
			return nil, err
		}
	}
	return s, users.Shared(ctx)
}

// start starts or finds the servers. A Postgres folder that does not start is
// made anew, once: it holds nothing but tests.
func (s *stack) start(ctx context.Context) (err error) {
	s.redis, err = devstack.NewRedis(devstack.RedisConfig{
		Dir: filepath.Join(s.base, "redis"), Ephemeral: true,
		Settings: map[string]string{"maxclients": "10000", "appendonly": "no"},
	})
	if err != nil {
		return err
	}
	if err := s.redis.Start(ctx); err != nil {
		return err
	}
	if s.postgres, err = s.startPostgres(ctx); err == nil {
		return nil
	}
	var missing *devstack.MissingError
	if errors.As(err, &missing) || ctx.Err() != nil {
		return err
	}
	folder := filepath.Join(s.base, "postgres")
	for _, part := range []string{"", ".json", ".new"} {
		if removeErr := os.RemoveAll(folder + part); removeErr != nil {
			return errors.Join(err, removeErr)
		}
	}
	s.postgres, err = s.startPostgres(ctx)
	return err
}

func (s *stack) startPostgres(ctx context.Context) (*devstack.Postgres, error) {
	p, err := devstack.NewPostgres(devstack.PostgresConfig{
		Dir: filepath.Join(s.base, "postgres"), Ephemeral: true,
		Settings: map[string]string{"max_connections": "500"},
	})
	if err != nil {
		return nil, err
	}
	return p, p.Start(ctx)
}

// clean removes what killed tests left behind. Only who is alone may call it.
func (s *stack) clean(ctx context.Context) error {
	client, err := s.redisClient()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.FlushAll(ctx).Err(); err != nil {
		return err
	}
	admin, err := pgx.Connect(ctx, s.postgres.URL())
	if err != nil {
		return err
	}
	defer admin.Close(ctx)
	rows, err := admin.Query(ctx, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", databasePrefix)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := dropDatabase(ctx, admin, name); err != nil {
			return err
		}
	}
	return s.sweepPrivate(ctx)
}

// sweepPrivate ends and removes private servers of killed tests.
func (s *stack) sweepPrivate(ctx context.Context) error {
	folders, err := filepath.Glob(filepath.Join(s.base, "private", "*", "*"))
	if err != nil {
		return err
	}
	for _, f := range folders {
		if st, err := os.Stat(f); err != nil || !st.IsDir() {
			continue
		}
		if err := devstack.KillRemains(ctx, f); err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Join(s.base, "private"))
}

// leave ends this process's use of the servers and stops them if it was the
// last.
func (s *stack) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	defer s.users.Close()
	door, err := devstack.OpenLock(filepath.Join(s.base, "door.lock"))
	if err != nil {
		return err
	}
	defer door.Close()
	if err := door.Exclusive(ctx); err != nil {
		return err
	}
	if last, err := s.users.TryExclusive(); err != nil || !last {
		return err
	}
	return errors.Join(s.redis.Stop(ctx), s.postgres.Stop(ctx))
}

func (s *stack) redisClient() (*redis.Client, error) {
	opts, err := redis.ParseURL(s.redis.URL())
	if err != nil {
		return nil, err
	}
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(opts), nil
}

func dropDatabase(ctx context.Context, admin *pgx.Conn, name string) error {
	_, err := admin.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
	return err
}

// databaseURL is the server's URL with another database.
func databaseURL(server, database string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Path = "/" + database
	return u.String(), nil
}

// wordFor makes the part of a name that tells which test it belonged to.
func wordFor(test string) string {
	word := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, test)
	return word[:min(len(word), 40)]
}
