package simulate

import "time"

// batch is how many entries of one environment the drain takes in a turn.
const batch = 200

type entry struct {
	at    time.Duration // when it was accepted
	bytes int64
}

// queue is what an environment has waiting, the oldest first.
type queue struct {
	list  []entry
	head  int
	bytes int64
}

func (q *queue) entries() int { return len(q.list) - q.head }

// buffer is what all environments have waiting. Those that have something are in
// turns, in a ring in which the first has its turn.
type buffer struct {
	queues  map[string]*queue
	turns   []*queue
	taken   int // in this turn
	entries int
	bytes   int64
}

func newBuffer() *buffer { return &buffer{queues: map[string]*queue{}} }

func (b *buffer) of(environment string) *queue {
	q := b.queues[environment]
	if q == nil {
		q = &queue{}
		b.queues[environment] = q
	}
	return q
}

func (b *buffer) put(q *queue, e entry) {
	if q.entries() == 0 {
		b.turns = append(b.turns, q)
	}
	q.list = append(q.list, e)
	q.bytes += e.bytes
	b.entries++
	b.bytes += e.bytes
}

// next is what the drain takes next; there is something.
func (b *buffer) next() entry {
	q := b.turns[0]
	return q.list[q.head]
}

// take removes what next has returned.
func (b *buffer) take() {
	q := b.turns[0]
	e := q.list[q.head]
	q.head++
	q.bytes -= e.bytes
	b.entries--
	b.bytes -= e.bytes
	if 2*q.head > len(q.list) { // copied at most once for each that was taken
		q.list, q.head = q.list[:copy(q.list, q.list[q.head:])], 0
	}
	b.taken++
	if q.entries() > 0 && b.taken < batch {
		return
	}
	b.turns, b.taken = b.turns[1:], 0
	if q.entries() > 0 {
		b.turns = append(b.turns, q)
	}
}

// oldest is the age of what has waited longest.
func (b *buffer) oldest(now time.Duration) (age time.Duration) {
	for _, q := range b.turns {
		age = max(age, now-q.list[q.head].at)
	}
	return age
}
