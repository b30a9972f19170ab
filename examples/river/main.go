// River takes the storm off a River queue: triggers go to the engine, which answers
// repeats and buffers bursts; runs become River's jobs in the transaction that inserts
// them, and River's workers run them.
//
//	trigger ──▶ engine ──▶ one transaction: the run's row and River's job ──▶ worker
//
// A job names a run and nothing else: what is to be done is read when it is worked, for a
// run may have been cancelled, delayed or given other metadata since. River repeats what
// fails; the run's key is held until the last try.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

// Job is River's side of a run.
type Job struct {
	Environment string `json:"environment"`
	Run         run.ID `json:"run"`
}

// Kind names the job for River.
func (Job) Kind() string { return "run" }

// Enqueue is the hook: it inserts a job for each run that is to be executed. client needs
// no workers.
func Enqueue(client *river.Client[pgx.Tx]) mollifier.Hook {
	return func(ctx context.Context, tx pgx.Tx, runs []run.Landed) error {
		jobs := make([]river.InsertManyParams, 0, len(runs))
		for _, r := range runs {
			if r.Status.Final() {
				continue // it was cancelled, or has expired, in the buffer
			}
			options := &river.InsertOpts{MaxAttempts: r.Trigger.MaxAttempts}
			if r.Status == run.Delayed {
				options.ScheduledAt = r.Trigger.DelayUntil
			}
			jobs = append(jobs, river.InsertManyParams{Args: Job{r.Trigger.Environment, r.ID}, InsertOpts: options})
		}
		if len(jobs) == 0 {
			return nil
		}
		_, err := client.InsertManyFastTx(ctx, tx, jobs)
		return err
	}
}

// Worker works runs as River hands them out.
type Worker struct {
	river.WorkerDefaults[Job]
	Engine *mollifier.Engine
	// Do is the work. Its output becomes the run's.
	Do func(ctx context.Context, r run.Run) (output []byte, err error)
}

// Work moves the run along with its job. Every step may be repeated: a job that is worked
// again after a crash finds the run where it left it.
func (w *Worker) Work(ctx context.Context, job *river.Job[Job]) error {
	r, err := w.Engine.Run(ctx, job.Args.Environment, job.Args.Run)
	switch {
	case err != nil:
		return err // River tries again
	case r.Status.Final():
		return nil // cancelled, or done by a try whose end River did not hear of
	case r.Status == run.Delayed:
		if wait := time.Until(r.Trigger.DelayUntil); wait > 0 {
			return river.JobSnooze(wait) // it was rescheduled, or debounced
		}
		if err := w.report(ctx, job, run.Finish{Status: run.Queued}); err != nil {
			return err
		}
	}
	switch err := w.report(ctx, job, run.Finish{Status: run.Executing}); {
	case errors.Is(err, run.ErrConflict):
		return nil // cancelled just now
	case err != nil:
		return err
	}
	output, failed := w.Do(ctx, r)
	if failed == nil {
		return w.report(ctx, job, run.Finish{Status: run.Completed, Output: output})
	}
	if job.Attempt < job.MaxAttempts {
		return failed // the run stays EXECUTING, and holds its key
	}
	// FAILED gives the key up: the next trigger of it is a new run.
	return errors.Join(failed, w.report(ctx, job, run.Finish{Status: run.Failed, Failure: &run.Failure{Message: failed.Error()}}))
}

func (w *Worker) report(ctx context.Context, job *river.Job[Job], f run.Finish) error {
	_, err := w.Engine.Finish(ctx, job.Args.Environment, job.Args.Run, f)
	return err
}

// Service is an engine in front of a River client that works its runs.
type Service struct {
	Engine *mollifier.Engine
	River  *river.Client[pgx.Tx]
	pool   *pgxpool.Pool
}

// Start brings up both. River's tables are in the engine's database: otherwise there would
// be no common transaction.
func Start(ctx context.Context, cfg mollifier.Config, do func(context.Context, run.Run) ([]byte, error)) (s *Service, err error) {
	s = &Service{}
	defer func() {
		if err != nil {
			s.Stop(ctx)
		}
	}()
	if s.pool, err = pgxpool.New(ctx, cfg.Postgres); err != nil {
		return s, err
	}
	driver := riverpgxv5.New(s.pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return s, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return s, err
	}
	inserts, err := river.NewClient(driver, &river.Config{Logger: cfg.Logger})
	if err != nil {
		return s, err
	}
	cfg.OnMaterialised = Enqueue(inserts)
	if s.Engine, err = mollifier.New(ctx, cfg); err != nil {
		return s, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &Worker{Engine: s.Engine, Do: do})
	s.River, err = river.NewClient(driver, &river.Config{
		Logger: cfg.Logger, Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
	})
	if err != nil {
		return s, err
	}
	return s, s.River.Start(ctx)
}

// Stop ends the work first, then the engine that it reports to.
func (s *Service) Stop(ctx context.Context) {
	if s.River != nil {
		if err := s.River.Stop(ctx); err != nil {
			slog.Error("river", "error", err)
		}
	}
	if s.Engine != nil {
		if err := s.Engine.Close(ctx); err != nil {
			slog.Error("engine", "error", err)
		}
	}
	if s.pool != nil {
		s.pool.Close()
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	service, err := Start(ctx, mollifier.Config{
		Redis: os.Getenv("REDIS_URL"), Postgres: os.Getenv("DATABASE_URL"), Migrate: true, Logger: slog.Default(),
	}, func(_ context.Context, r run.Run) ([]byte, error) {
		fmt.Printf("%s: %s\n", r.ID, r.Trigger.Payload)
		return nil, nil
	})
	if err != nil {
		slog.Error("start", "error", err)
		os.Exit(1)
	}
	for i := range 1000 { // a storm of 100 keys
		if _, err := service.Engine.Trigger(ctx, run.Trigger{
			Organisation: "acme", Environment: "prod", Task: "send-invoice",
			IdempotencyKey: fmt.Sprint("order-", i%100), Payload: fmt.Appendf(nil, `{"order":%d}`, i%100),
		}); err != nil {
			slog.Error("trigger", "error", err)
			break
		}
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	service.Stop(end)
}
