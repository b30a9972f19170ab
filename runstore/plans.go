package runstore

import (
	"github.com/jackc/pgx/v5"
)

// Which plans are kept.
//
// A plan that Postgres keeps may have been made while the tables were empty, when
// every index cost the same: by the wrong one it then reads all runs of an
// environment for each key, for as long as the connection lives. So statements are
// planned anew, by either of two means: the cold pool forbids kept plans, the hot
// one prepares nothing under a name. The insert is the exception, because to plan
// its 39 parameters costs more than to insert a row. It may keep its plan since
// only the right one is possible, however large the tables were when it was made:
// what it looks up it looks up row by row (lateral, limit 1), by an id and its
// environment, and every index that serves that comparison leads to one row at most;
// sequential scans are forbidden on that pool.
const (
	planAnew = "force_custom_plan"
	planKept = "force_generic_plan"
)

// mayKeep marks connections whose configuration allows named statements. Behind
// some poolers there can be none.
const mayKeep = "mollifier: named statements"

// mayKeepPlan reports whether the connection may prepare a statement that may keep
// its plan.
func mayKeepPlan(conn *pgx.Conn) bool { return conn.PgConn().CustomData()[mayKeep] == true }

// hotPlans has a pool's connections plan as the hot pool does, coldPlans as the
// cold one does.
func hotPlans(c *pgx.ConnConfig) {
	c.RuntimeParams["plan_cache_mode"] = planKept
	c.RuntimeParams["enable_seqscan"] = "off"
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
}

func coldPlans(c *pgx.ConnConfig) { c.RuntimeParams["plan_cache_mode"] = planAnew }
