package redisdb

import (
	"context"
	"errors"
	"sync"
)

// Examine asks whether this Redis is still what [DB.Open] found: its settings may be
// changed while it runs, and a replica that took over may have others. An error that
// wraps [run.ErrUnavailable] means that nobody answered, and that what was known holds;
// any other names what a person must change, as that of Open does, until a later
// Examine finds it changed. On a cluster one server is enough.
func (d *DB) Examine(ctx context.Context) error {
	l := d.link.Load()
	if l == nil {
		return unavailable(&callError{text: "Redis is not open"}, 0)
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Deadline)
	defer cancel()
	all := l.servers.all()
	errs := make([]error, len(all))
	var asked sync.WaitGroup
	for i, s := range all {
		asked.Go(func() {
			info, err := s.client.Info(ctx).Result()
			if err == nil {
				_, err = examine(parseInfo(info))
			}
			errs[i] = err
		})
	}
	asked.Wait()
	var silent error
	for _, err := range errs {
		var unfit *unfitError
		if errors.As(err, &unfit) {
			d.unfit.Store(unfit)
			return unfit
		}
		if err != nil {
			silent = err
		}
	}
	if silent == nil {
		d.unfit.Store(nil)
		return nil
	}
	if known := d.unfit.Load(); known != nil {
		return known // perhaps the one that is silent
	}
	return unavailable(classify(silent), 0)
}

// Unfit returns what [DB.Examine] found last that a person must change, or nil.
func (d *DB) Unfit() error {
	if unfit := d.unfit.Load(); unfit != nil {
		return unfit
	}
	return nil
}
