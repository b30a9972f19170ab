package nemesis

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
)

var postgres = []Nemesis{
	{Class: "N8", Name: "postgres-kill", What: "Postgres is killed (SIGKILL, all its processes) and recovers", Run: func(ctx context.Context, f *Field) error {
		return f.during(ctx, f.Postgres.Kill, func() error { return f.startPostgres(ctx) })
	}},
	{Class: "N8", Name: "postgres-restart", What: "Postgres is stopped in order and started again at once", Run: func(ctx context.Context, f *Field) error {
		return errors.Join(f.Postgres.Stop(ctx), f.startPostgres(ctx))
	}},
	{Class: "N8", Name: "postgres-freeze", What: "Postgres hangs (SIGSTOP) and goes on", Run: func(ctx context.Context, f *Field) error {
		return f.during(ctx, f.Postgres.Pause, f.Postgres.Resume)
	}},
	{Class: "N8", Name: "postgres-terminate", What: "all connections are ended by pg_terminate_backend, again and again", Run: func(ctx context.Context, f *Field) error {
		return f.withPostgres(ctx, func(conn *pgx.Conn) error {
			for range 10 {
				if err := terminate(ctx, conn); err != nil {
					return err
				}
				if err := cluster.Wait(ctx, time.Duration(50+f.Rand.IntN(200))*time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{Class: "N8", Name: "postgres-connections", What: "somebody else takes all connections of Postgres", Run: func(ctx context.Context, f *Field) error {
		return f.withPostgres(ctx, func(conn *pgx.Conn) error {
			var taken []*pgx.Conn
			defer func() {
				for _, c := range taken {
					_ = c.Close(context.WithoutCancel(ctx)) // Postgres ends them anyhow
				}
			}()
			if err := terminate(ctx, conn); err != nil {
				return err
			}
			for range 2 {
				for {
					c, err := f.Connect(ctx)
					if err != nil {
						break // there are no more
					}
					taken = append(taken, c)
				}
				if err := cluster.Wait(ctx, 200*time.Millisecond); err != nil {
					return err
				}
			}
			return f.hold(ctx)
		})
	}},
}

func terminate(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'`)
	return err
}

func (f *Field) withPostgres(ctx context.Context, use func(*pgx.Conn) error) error {
	conn, err := f.Connect(ctx)
	if err != nil {
		return err
	}
	err = use(conn)
	_ = conn.Close(context.WithoutCancel(ctx)) // it may be broken
	return err
}
