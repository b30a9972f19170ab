package tenant

// Acquired counts the times the Directory has turned to Postgres.
func (d *Directory) Acquired() int64 { return d.pool.Stat().AcquireCount() }
