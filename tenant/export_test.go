package tenant

// Acquired counts the times the Directory has turned to Postgres.
func (d *Directory) Acquired() int64 { return d.pool.Stat().AcquireCount() }

// LastCheck tells checks that unknown keys caused apart.
func (d *Directory) LastCheck() any {
	d.checks.mu.Lock()
	defer d.checks.mu.Unlock()
	return d.checks.began
}
