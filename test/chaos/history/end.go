package history

// Row is what Postgres has of an id when all is over.
type Row struct {
	Kind      int
	AliasOf   string
	Status    string
	Token     string // of who made it; see Op
	Tags      []string
	Bumps     int
	Detached  bool // had a key, and was cancelled before it could hold it
	StartedAt int64
}

// Read is what GET answered for an id when all is over.
type Read struct {
	HTTP      int
	Canonical string
	Status    string
}

// End is the state when all is over: nothing is under way, and the buffer empty.
type End struct {
	Rows     map[string]Row
	Reads    map[string]Read
	Overlaps int   // pairs of runs that hold one key at a time
	BadAlias int   // aliases of what is no run
	Mended   int64 // when the last fault ended
	Empties  bool  // a fault of this run may have Redis lose what it had; the nodes put it back
	Loses    bool  // and a node that would put it back may have ended
	Hides    bool  // a fault of this run may keep a node from Postgres
	Apart    bool  // and one may keep a node from Redis
}

// Canonical is the run that an id resolves to; the id itself if it is none's.
func (e *End) Canonical(id string) string {
	if row := e.Rows[id]; row.AliasOf != "" {
		return row.AliasOf
	}
	return id
}

// MayVanish reports whether a run may cease to hold its key at any time: it was
// lost by a fault that loses runs, or was cancelled as the duplicate of another.
func (e *End) MayVanish(id string) bool {
	row, known := e.Rows[id]
	return (!known && e.Loses) || row.Detached
}
