package telemetry

// The names that more than this package's callbacks use.
const (
	TriggersAnswered   = "mollifier.triggers.answered"
	TriggersRefused    = "mollifier.triggers.refused"
	BufferOrganisation = "mollifier.buffer.organisation.entries"
	Requests           = "http.server.request.duration"

	triggerDuration   = "mollifier.trigger.duration"
	batchItems        = "mollifier.batch.items"
	batchDuration     = "mollifier.batch.duration"
	claimWait         = "mollifier.claim.wait.duration"
	drainItems        = "mollifier.drain.batch.items"
	drainDuration     = "mollifier.drain.batch.duration"
	bufferDwell       = "mollifier.buffer.dwell"
	timeToMaterialise = "mollifier.materialise.duration"
)

// Others names the organisations that get no label of their own, together.
const Others = "_other"

// organisationsMost is how many organisations get a label: those with the most in
// the buffer at the moment.
const organisationsMost = 20

// The bounds of histograms: seconds of one call to a store, seconds in the buffer,
// and members of a batch.
var (
	calls   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	waiting = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400}
	members = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
)

// outcomes are what becomes of a trigger.
var outcomes = [...]string{"passed", "mollified", "cached", "refused"}

const (
	_ = iota // passed
	outcomeMollified
	outcomeCached
	outcomeRefused
)

func closed(name string, values ...string) Label { return Label{Name: name, Values: values} }

var (
	byWriter       = closed("writer", "claims", "settles", "debounces", "checks", "looks", "accepts")
	byPool         = closed("pool", "hot", "cold")
	byOrganisation = Label{Name: "organisation", Most: organisationsMost + 1}
)

// removedKinds are what retention removes.
var removedKinds = []string{"run", "alias", "tombstone", "dead_letter", "batch", "place", "audit"}

var table = []Metric{
	{Name: "mollifier.triggers", Kind: Counter, Unit: "{trigger}", Scope: Node, Text: "Triggers taken in."},
	{
		Name: TriggersAnswered, Kind: Counter, Unit: "{trigger}", Scope: Node, Text: "Triggers answered with a run: whether it was created or was there before, where it rests, and whether its identity is confirmed.",
		Labels: []Label{closed("outcome", "created", "cached"), closed("state", "materialised", "buffered"), closed("identity", "confirmed", "provisional")},
	},
	{
		Name: TriggersRefused, Kind: Counter, Unit: "{trigger}", Scope: Node, Text: "Triggers answered with an error, or that nobody waited for any more (abandoned).",
		Labels: []Label{closed("reason", reasons[:]...)},
	},
	{Name: "mollifier.triggers.payload_mismatches", Kind: Counter, Unit: "{trigger}", Scope: Node, Text: "Triggers answered with a run of another payload."},
	{
		Name: triggerDuration, Kind: Histogram, Unit: "s", Scope: Node, Text: "From a trigger's call to its answer: with a new run in Postgres (passed) or in the buffer (mollified), with a run that was there (cached), or with an error. Items of batches are not in it.",
		Labels: []Label{closed("outcome", outcomes[:]...)}, buckets: calls,
	},
	{Name: "mollifier.triggers.waiting", Kind: Gauge, Unit: "{trigger}", Scope: Node, Text: "Triggers that wait for their answer."},

	{Name: "mollifier.flights", Kind: Counter, Unit: "{flight}", Scope: Node, Text: "Flights. Triggers for each flight are the coalescing ratio."},
	{Name: "mollifier.flights.diverted", Kind: Counter, Unit: "{flight}", Scope: Node, Text: "Flights that one store could not take and the other was asked for."},
	{Name: "mollifier.flights.landed", Kind: Counter, Unit: "{flight}", Scope: Node, Text: "Flights settled in Postgres after the reply to their accept was lost."},
	{
		Name: "mollifier.claims", Kind: Counter, Unit: "{request}", Scope: Node, Text: "Requests about claims sent to Redis.",
		Labels: []Label{closed("verb", "claim", "publish", "release")},
	},
	{Name: "mollifier.claims.undecided", Kind: Counter, Unit: "{claim}", Scope: Node, Text: "Claims that Redis did not decide: Postgres alone did, provisionally."},
	{Name: claimWait, Kind: Histogram, Unit: "s", Scope: Node, Text: "How long a flight waited for the owner of its key on another node.", buckets: calls},
	{Name: batchItems, Kind: Histogram, Unit: "{request}", Scope: Node, Text: "Requests in one batch of a writer.", Labels: []Label{byWriter}, buckets: members},
	{
		Name: batchDuration, Kind: Histogram, Unit: "s", Scope: Node, Text: "One batch of a writer, retries included: settles is the insert into Postgres, accepts the acceptance into the buffer.",
		Labels: []Label{byWriter}, buckets: calls,
	},

	{
		Name: "mollifier.gate.decisions", Kind: Counter, Unit: "{decision}", Scope: Node, Text: "Decisions of the gate.",
		Labels: []Label{closed("outcome", "pass", "mollify", "shadow"), closed("reason", gateReasons()...), closed("enrolled", "true", "false")},
	},
	{Name: "mollifier.gate.trips", Kind: Counter, Unit: "{trip}", Scope: Node, Text: "Times that an environment was tripped by its rate, as seen from this node."},
	{Name: "mollifier.gate.environments", Kind: Gauge, Unit: "{environment}", Scope: Node, Text: "Environments whose rate is remembered."},
	{
		Name: "mollifier.gate.counted", Kind: Counter, Unit: "{trigger}", Scope: Node, Text: "Triggers counted by the gate: in Redis for all nodes, on this node alone because Redis gave no answer, or not at all because there were too many environments.",
		Labels: []Label{closed("where", "redis", "node", "nowhere")},
	},
	{Name: "mollifier.gate.calls", Kind: Counter, Unit: "{call}", Scope: Node, Text: "Reports of the gate to Redis.", Labels: []Label{closed("result", "answered", "failed")}},
	{Name: "mollifier.gate.unrecorded", Kind: Counter, Unit: "{decision}", Scope: Node, Text: "Decisions that are in no recording, because more environments triggered in one second than there is room for."},
	{
		Name: "mollifier.gate.pressure", Kind: Gauge, Unit: "{signal}", Scope: Node, Text: "1 while this signal of Postgres mollifies all environments.",
		Labels: []Label{closed("signal", pressures[:]...)},
	},

	{Name: "mollifier.buffer.entries", Kind: Gauge, Unit: "{run}", Scope: Deployment, Text: "Runs in the buffer."},
	{Name: "mollifier.buffer.size", Kind: Gauge, Unit: "By", Scope: Deployment, Text: "Bytes of the runs in the buffer. Redis needs some 700 more for each run."},
	{Name: "mollifier.buffer.oldest.age", Kind: Gauge, Unit: "s", Scope: Deployment, Text: "Dwell of the oldest run in the buffer; 0 if it is empty."},
	{
		Name: BufferOrganisation, Kind: Gauge, Unit: "{run}", Scope: Deployment, Text: "Runs in the buffer of the enrolled organisations that have most there, and of all others together.",
		Labels: []Label{byOrganisation},
	},
	{Name: "mollifier.buffer.organisation.size", Kind: Gauge, Unit: "By", Scope: Deployment, Text: "Their bytes.", Labels: []Label{byOrganisation}},
	{Name: "mollifier.buffer.organisation.oldest.age", Kind: Gauge, Unit: "s", Scope: Deployment, Text: "Dwell of their oldest run.", Labels: []Label{byOrganisation}},
	{Name: "mollifier.buffer.stale", Kind: Gauge, Unit: "{run}", Scope: Deployment, Text: "Runs that have been in the buffer for more than 5 minutes; of one environment in one partition at most 100 are counted."},
	{Name: "mollifier.buffer.unreadable", Kind: Gauge, Unit: "{run}", Scope: Deployment, Text: "Runs put aside in the buffer because no node here can read them."},
	{Name: "mollifier.buffer.reading.age", Kind: Gauge, Unit: "s", Scope: Node, Text: "How old this node's knowledge of the buffer is. Without a value on a node that has not seen all of it, or does not drain."},
	{
		Name: "mollifier.buffer.durability", Kind: Gauge, Unit: "{level}", Scope: Node, Text: "1 for what a run in the buffer has survived before this node answers it.",
		Labels: []Label{closed("durability", durabilities[:]...)},
	},
	{Name: "mollifier.buffer.undurable", Kind: Counter, Unit: "{call}", Scope: Node, Text: "Acceptances and changes that Redis executed but that did not become as durable as -durability asks for in time: a replica or the disk is behind, and the runs were settled in Postgres."},
	{Name: bufferDwell, Kind: Histogram, Unit: "s", Scope: Node, Text: "Dwell of the runs that this node took out of the buffer: from their acceptance to their lease, by Redis's clock.", buckets: waiting},

	{Name: "mollifier.drain.leased", Kind: Counter, Unit: "{run}", Scope: Node, Text: "Runs leased from the buffer."},
	{
		Name: "mollifier.drain.runs", Kind: Counter, Unit: "{run}", Scope: Node, Text: "Runs that left the buffer: with a row, as a row of status SYSTEM_FAILURE because Postgres refuses them, or put aside.",
		Labels: []Label{closed("outcome", "materialised", "failed", "unreadable")},
	},
	{Name: "mollifier.drain.changed", Kind: Counter, Unit: "{run}", Scope: Node, Text: "Runs that were changed while they were materialised, and written again."},
	{Name: "mollifier.drain.refused", Kind: Counter, Unit: "{attempt}", Scope: Node, Text: "Attempts that Postgres refused because of the row."},
	{Name: "mollifier.drain.given_back", Kind: Counter, Unit: "{run}", Scope: Node, Text: "Runs given back to the buffer without having spent an attempt."},
	{Name: "mollifier.drain.pauses", Kind: Counter, Unit: "{pause}", Scope: Node, Text: "Pauses because Postgres was not available."},
	{Name: "mollifier.drain.paused", Kind: Gauge, Unit: "{drain}", Scope: Node, Text: "1 while the drain waits for Postgres."},
	{Name: "mollifier.drain.rate", Kind: Gauge, Unit: "{run}/s", Scope: Node, Text: "Runs a second that this node has drained of late, over the time in which something waited; 0 if that is not known."},
	{Name: drainItems, Kind: Histogram, Unit: "{run}", Scope: Node, Text: "Runs in one transaction of the drain.", buckets: members},
	{Name: drainDuration, Kind: Histogram, Unit: "s", Scope: Node, Text: "One transaction of the drain, retries included.", buckets: calls},
	{Name: timeToMaterialise, Kind: Histogram, Unit: "s", Scope: Node, Text: "From the acceptance of a buffered run until Postgres had it.", buckets: waiting},
	{
		Name: "mollifier.leases", Kind: Counter, Unit: "{lease}", Scope: Node, Text: "What became of leases out of order: recovered from a drainer that is gone, lost to another one, or asked for again because the reply was lost.",
		Labels: []Label{closed("event", "recovered", "lost", "repeated")},
	},
	{
		Name: "mollifier.aliases", Kind: Counter, Unit: "{run}", Scope: Node, Text: "Buffered runs that became another name of their key's run: of one accepted before them that they were not told of (unseen), or of one that Postgres took while they were in the buffer (overtaken).",
		Labels: []Label{closed("cause", "unseen", "overtaken")},
	},

	{Name: "mollifier.ring.entries", Kind: Gauge, Unit: "{run}", Scope: Node, Text: "Runs that this node keeps a copy of because only Redis has them, as of its last look."},
	{Name: "mollifier.ring.size", Kind: Gauge, Unit: "By", Scope: Node, Text: "Bytes of these copies."},
	{Name: "mollifier.ring.evicted", Kind: Counter, Unit: "{run}", Scope: Node, Text: "Copies dropped for room while only Redis had the run."},
	{Name: "mollifier.ring.signals", Kind: Counter, Unit: "{signal}", Scope: Node, Text: "Signs, by partition, that Redis may have gone back."},
	{
		Name: "mollifier.ring.restored", Kind: Counter, Unit: "{copy}", Scope: Node, Text: "What was put back into Redis: whole runs, or changes of runs that were there.",
		Labels: []Label{closed("what", "run", "change")},
	},
	{Name: "mollifier.ring.refused", Kind: Counter, Unit: "{copy}", Scope: Node, Text: "Copies that could not be put back, and are dropped."},

	{
		Name: "mollifier.overrides", Kind: Gauge, Unit: "{override}", Scope: Deployment, Text: "Overrides in force: of the gate, and pauses of the drain.",
		Labels: []Label{closed("kind", overrideKinds[:]...)},
	},
	{Name: "mollifier.overrides.version", Kind: Gauge, Unit: "{version}", Scope: Node, Text: "Version of the overrides that this node goes by; one that stays behind the others' has not heard of a change."},

	{
		Name: "mollifier.postgres.connections", Kind: Gauge, Unit: "{connection}", Scope: Node, Text: "Connections to Postgres: hot ones settle, drain and check, cold ones do everything else.",
		Labels: []Label{byPool, closed("state", "busy", "idle")},
	},
	{Name: "mollifier.postgres.connections.limit", Kind: Gauge, Unit: "{connection}", Scope: Node, Text: "The most that may be open.", Labels: []Label{byPool}},
	{Name: "mollifier.postgres.connections.waits", Kind: Counter, Unit: "{wait}", Scope: Node, Text: "Times that somebody waited for a connection.", Labels: []Label{byPool}},
	{Name: "mollifier.postgres.connections.waited", Kind: Counter, Unit: "s", Scope: Node, Text: "How long they waited together.", Labels: []Label{byPool}},
	{
		Name: "mollifier.retention.removed", Kind: Counter, Unit: "{row}", Scope: Node, Text: "Rows that retention has removed from Postgres.",
		Labels: []Label{closed("kind", removedKinds...)},
	},

	{
		Name: "mollifier.store.breaker", Kind: Gauge, Unit: "{breaker}", Scope: Node, Text: "1 for the state in which the breaker of a store is.",
		Labels: []Label{closed("store", "redis", "postgres"), closed("state", "closed", "half-open", "open")},
	},
	{Name: "mollifier.buffer.unfit", Kind: Gauge, Unit: "{setting}", Scope: Node, Text: "1 while nothing is put into the buffer because a setting of Redis, its eviction policy, does not allow it."},
	{Name: "mollifier.panics", Kind: Counter, Unit: "{panic}", Scope: Node, Text: "Panics that were recovered.", Labels: []Label{closed("part", "shards", "drain")}},

	{
		Name: Requests, Kind: Histogram, Unit: "s", Scope: Node, Text: "One HTTP request, from its header to the end of its answer; long polls included.",
		Labels: []Label{{Name: "http.request.method", Most: 10}, {Name: "http.route", Most: 100}, {Name: "http.response.status_code", Most: 30}}, buckets: calls,
	},
}
