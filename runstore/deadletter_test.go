package runstore

import (
	"bytes"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/run"
)

// What can not be a row is kept byte for byte, once.
func TestBuryKeepsTheExactBytes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	dead := run.NewSnapshot(mint(), run.Key{}, run.Hash{}, run.Trigger{
		Organisation: "org", Environment: "env", Task: "task", Queue: "bad\x00queue",
		Payload: []byte("\x00\xff{\"n\":12345678901234567890}"),
	})
	dead.Accept(1)
	for _, reason := range []string{"refused", "again"} {
		if err := s.Bury(t.Context(), &dead, reason); err != nil {
			t.Fatal(err)
		}
	}
	var kept []byte
	var reason string
	conn, err := pgx.ConnectConfig(t.Context(), s.cold.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), `select snapshot, reason from dead_letters where env_id = 'env' and run_id = $1`,
		dead.ID.String()).Scan(&kept, &reason); err != nil {
		t.Fatal(err)
	}
	back, err := run.DecodeSnapshot(kept)
	if err != nil || !bytes.Equal(back.Trigger.Payload, dead.Trigger.Payload) || back.Trigger.Queue != dead.Trigger.Queue || reason != "refused" {
		t.Errorf("kept %q, %q, %v", back.Trigger.Payload, reason, err)
	}
}
