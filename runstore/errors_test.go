package runstore

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

func TestDiagnose(t *testing.T) {
	t.Parallel()
	state := func(code string) error {
		return &pgconn.PgError{Code: code, Message: "hush", Detail: "Key (id)=(hush) in db.internal"}
	}
	for _, c := range []struct {
		err     error
		verdict verdict
		unknown bool
	}{
		{state("22021"), poison, false},
		{state("22P05"), poison, false},
		{state("23514"), poison, false},
		{state("54000"), poison, false},
		{state("40001"), transient, false},
		{state("40P01"), transient, false},
		{state("40003"), transient, true},
		{state("53300"), transient, false},
		{state("53100"), transient, false},
		{state("55P03"), transient, false},
		{state("57014"), transient, false},
		{state("57P01"), transient, true},
		{state("57P03"), transient, true},
		{state("08006"), transient, true},
		{state("25006"), transient, false},
		{state("25P03"), transient, false},
		{state("42P01"), hopeless, false},
		{state("28P01"), hopeless, false},
		{state(""), hopeless, false},
		{io.ErrUnexpectedEOF, transient, true},
		{&net.OpError{Op: "read", Err: errors.New("db.internal: hush")}, transient, true},
		{context.DeadlineExceeded, transient, true},
		{&pgconn.ConnectError{}, transient, false},
		{pgx.ErrTxCommitRollback, transient, false},
		{errRowsLost, hopeless, false},
	} {
		got := diagnose(c.err)
		if got.verdict != c.verdict || got.unknown != c.unknown {
			t.Errorf("%T %v: verdict %d, unknown %v", c.err, c.err, got.verdict, got.unknown)
		}
		for _, err := range []error{refusal(got), rejection(got)} {
			for _, secret := range []string{"hush", "db.internal"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v holds %q", err, secret)
				}
			}
		}
	}
	if err := refusal(diagnose(context.Canceled)); !errors.Is(err, context.Canceled) || !errors.Is(err, run.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if OutcomeUnknown(nil) || OutcomeUnknown(io.EOF) {
		t.Error("an error of somebody else")
	}
}

// checkRefused requires the refusal that callers can retry, without a word
// about where Postgres lives (case 107).
func checkRefused(t *testing.T, err error, unknown bool) {
	t.Helper()
	refused, ok := errors.AsType[*run.RefusedError](err)
	if !ok || refused.Part != "postgres" || !errors.Is(err, run.ErrUnavailable) || OutcomeUnknown(err) != unknown {
		t.Errorf("got %v (outcome unknown: %v)", err, OutcomeUnknown(err))
		return
	}
	for _, secret := range []string{"127.0.0.1", "localhost", "host", "dial", "user=", "database="} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds %q: %v", secret, err)
		}
	}
}

func TestPostgresDownAndBack(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivatePostgres(t)
	s := openStore(t, server.URL())
	first := s.want(Created, keyed("k", 1000))
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Ready(ctx); !errors.Is(err, run.ErrUnavailable) {
		t.Errorf("ready: %v", err)
	}
	for _, a := range s.Settle(ctx, []Settlement{{keyed("a", 1)}, {snapshot(run.Trigger{})}}) {
		if a.Err == nil {
			t.Error("settled without Postgres")
		}
		if refused, ok := errors.AsType[*run.RefusedError](a.Err); !ok || refused.Part != "postgres" || strings.Contains(a.Err.Error(), "127.0.0.1") {
			t.Errorf("got %v", a.Err)
		}
	}
	_, err := s.Runs(ctx, env, []run.ID{first.ID})
	checkRefused(t, err, false)
	_, _, err = s.Reset(ctx, env, keyed("k", 0).Hash, 0)
	checkRefused(t, err, false)
	_, err = s.Take(ctx, 1)
	checkRefused(t, err, false)

	// What is settled while Postgres is away is there once it is back.
	done := make(chan Settled, 1)
	go func() { done <- s.settleOne(keyed("k", 2000)) }()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.Err != nil || got.Outcome != Held || got.ID != first.ID {
		t.Errorf("%+v", got)
	}
}

// Without its schema the store says so at once instead of trying on.
func TestNoSchema(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{URL: stacktest.Postgres(t), MaxConns: 4, StatementTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := s.Settle(t.Context(), []Settlement{{keyed("k", 1)}})[0]
	checkRefused(t, got.Err, false)
	if !strings.Contains(got.Err.Error(), "42P01") {
		t.Errorf("%v", got.Err)
	}
}
