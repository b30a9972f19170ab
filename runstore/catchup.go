package runstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

var (
	lockRowSQL  = statement("lock_row")
	patchedSQL  = statement("patched")
	cancelSQL   = statement("cancel")
	retagSQL    = statement("retag")
	metadataSQL = statement("metadata")
	delaySQL    = statement("delay")
)

// catchUp applies to a row the patches that it lacks, and says which it has, in
// one transaction. It locks the row and, for an alias, then the run that it
// stands for: nobody locks the two the other way round.
func catchUp(ctx context.Context, conn *pgxpool.Conn, it *item) (answer Materialised, err error) {
	env, id := it.snapshot.Trigger.Environment, it.snapshot.ID
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var (
			alias bool
			has   int64
		)
		if err := tx.QueryRow(ctx, lockRowSQL, env, id.String()).Scan(&alias, &has); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, lockRunSQL, env, id.String())
		r, err := pgx.CollectExactlyOneRow(rows, scanOwn)
		if err != nil {
			return err
		}
		var news run.Snapshot
		news.Trigger.Tags = r.Trigger.Tags
		lacking := it.patches
		for len(lacking) > 0 && lacking[0].Ver <= has && !mutant.On("patches-apply-again") {
			lacking = lacking[1:]
		}
		if r, err = patchRow(ctx, tx, r, news.Apply(lacking...), lacking, alias); err != nil {
			return err
		}
		t := &it.snapshot.Trigger
		if t.Tags == nil {
			t.Tags = []string{}
		}
		if _, err := tx.Exec(ctx, patchedSQL, env, id.String(), it.ver, t.Tags, t.Metadata, t.MetadataType, instantOf(t.DelayUntil)); err != nil {
			return err
		}
		answer = Materialised{Outcome: Replayed, Holder: holderOf(&r)}
		answer.ID = id
		return nil
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = &cause{verdict: hopeless, text: "the row was removed meanwhile"}
	}
	return answer, err
}

// patchRow brings the locked run r up to what the patches made of it.
func patchRow(ctx context.Context, tx pgx.Tx, r run.Run, p run.Patched, patches []run.Patch, alias bool) (run.Run, error) {
	env, id := r.Trigger.Environment, r.ID.String()
	change := func(sql string, args ...any) error {
		rows, _ := tx.Query(ctx, sql, append([]any{env, id}, args...)...)
		var err error
		r, err = pgx.CollectExactlyOneRow(rows, scanOwn)
		return err
	}
	if len(p.Trigger.Tags) > len(r.Trigger.Tags) {
		if err := change(retagSQL, p.Trigger.Tags); err != nil {
			return r, err
		}
	}
	metadata, delay := false, false
	for i := range patches {
		metadata = metadata || patches[i].Metadata != nil
		delay = delay || patches[i].Delay != 0
	}
	if metadata && !alias {
		if err := change(metadataSQL, p.Trigger.Metadata, p.Trigger.MetadataType); err != nil {
			return r, err
		}
	}
	if delay && !alias && r.Status == run.Delayed {
		if err := change(delaySQL, instantOf(p.Trigger.DelayUntil)); err != nil {
			return r, err
		}
	}
	if p.Cancelled != nil && !r.Status.Final() {
		failure, err := encodeFailure(p.Cancelled.Failure())
		if err != nil {
			return r, &cause{verdict: poison, text: "error can not be encoded"}
		}
		if err := change(cancelSQL, failure, int64(p.CancelledAt)); err != nil {
			return r, err
		}
	}
	return r, nil
}

// holderOf is a run as far as its key is concerned.
func holderOf(r *run.Run) Holder {
	return Holder{
		ID: r.ID, Canonical: r.Canonical,
		AcceptedAt: run.Instant(instantOf(r.CreatedAt)), Until: run.Instant(instantOf(r.KeyUntil)),
		Status: r.Status, PayloadHash: r.PayloadHash, RequestHash: r.RequestHash,
	}
}
