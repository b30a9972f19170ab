package buffer

import (
	"strconv"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// maxPackBytes is the most bytes of snapshots in one call, but for a single one.
const maxPackBytes = 4 << 20

// pack is one call of the accept script. Whatever it says is written behind one
// another into one text, and the call points into that: the cost of a run is its
// bytes, not its arguments.
type pack struct {
	store *Store
	items []int
	bytes int // of snapshots

	ids        map[run.ID]struct{}
	keys       map[run.Hash]struct{}
	partitions map[int]int     // number of each
	slots      map[slotKey]int // number of each
	kinds      map[kind]int    // number of each, less 1
	tenants    map[string]span // by tag: an environment is in many partitions

	text                             []byte
	partitionKeys, slotKeys, runKeys []span
	slotArgs, kindArgs, runArgs      []span
}

// span is a part of a pack's text.
type span struct{ from, to int }

type slotKey struct {
	partition int
	tag       string
}

// kind is what many runs of a pack have in common.
type kind struct {
	ttl     int64
	begins  Status
	since   run.Instant
	epoch   string
	skipped bool
}

// What the script takes: arguments in front, and for each run.
const (
	packArgs = 8
	runArgs  = 4
)

// newPack makes room for n runs.
func (s *Store) newPack(n int) *pack {
	return &pack{
		store: s, items: make([]int, 0, n),
		ids: make(map[run.ID]struct{}, n), keys: make(map[run.Hash]struct{}, n),
		partitions: map[int]int{}, slots: map[slotKey]int{}, kinds: map[kind]int{}, tenants: map[string]span{},
		text: make([]byte, 0, 1024*n), runKeys: make([]span, 0, 2*n), runArgs: make([]span, 0, runArgs*n),
	}
}

// takes reports whether one more fits: the script reads all runs and keys before
// it writes any, so none may be in it twice.
func (p *pack) takes(a *Acceptance) bool {
	_, id := p.ids[a.Snapshot.ID]
	_, key := p.keys[a.Snapshot.Hash]
	return !id && (!key || a.Snapshot.Key.IsZero()) && len(p.items) < maxItems && p.bytes+a.Snapshot.Trigger.Size() <= maxPackBytes
}

// add takes run i in. If it can not be encoded it says so, and the pack is as before.
func (p *pack) add(i, partition int, a *Acceptance) error {
	snap := a.Snapshot
	before := len(p.text)
	text, err := snap.AppendUndated(p.text) // when it was accepted is the script's to say
	if err != nil {
		return err
	}
	p.text = text
	body := p.from(before)
	p.items = append(p.items, i)
	p.bytes += body.to - body.from
	p.ids[snap.ID] = struct{}{}

	tag := redisdb.EnvTag(snap.Trigger.Environment)
	names := p.store.names
	at := len(p.text)
	p.text = names.AppendEntry(p.text, partition, tag, snap.ID)
	entry := p.from(at)
	k := kind{begins: a.begins(), skipped: a.CheckSkipped}
	if a.Since > 0 && a.Epoch != "" {
		k.since, k.epoch = a.Since, a.Epoch
	}
	record := entry
	if !snap.Key.IsZero() {
		p.keys[snap.Hash] = struct{}{}
		k.ttl = snap.Trigger.IdentityTTL().Microseconds()
		at = len(p.text)
		p.text = names.AppendRecord(p.text, partition, snap.Hash)
		record = p.from(at)
	}
	p.runKeys = append(p.runKeys, entry, record)
	place := p.number(256*p.slot(partition, tag, &snap.Trigger) + p.kind(k))
	at = len(p.text)
	p.text = snap.RequestHash.Append(append(snap.PayloadHash.Append(p.text), '|'))
	p.runArgs = append(p.runArgs, place, body, p.from(at), p.more(a))
	return nil
}

// slot numbers an environment of a partition.
func (p *pack) slot(partition int, tag string, t *run.Trigger) int {
	number := p.slots[slotKey{partition, tag}]
	if number > 0 {
		return number
	}
	names := p.store.names
	group := p.partitions[partition]
	if group == 0 {
		group = len(p.partitions) + 1
		p.partitions[partition] = group
		p.partitionKeys = append(p.partitionKeys, p.put(names.Envs(partition)), p.put(names.Usage(partition)))
	}
	number = len(p.slots) + 1
	p.slots[slotKey{partition, tag}] = number
	p.slotKeys = append(p.slotKeys, p.put(names.Queue(partition, tag)), p.put(names.Index(partition, tag)))
	tenant, known := p.tenants[tag]
	if !known {
		at := len(p.text)
		p.text = appendTenant(p.text, t.Organisation, t.Environment)
		tenant = p.from(at)
		p.tenants[tag] = tenant
	}
	p.slotArgs = append(p.slotArgs, p.number(group), p.put(tag), tenant)
	return number
}

// kind numbers a kind of run, from 0.
func (p *pack) kind(k kind) int {
	number, known := p.kinds[k]
	if !known {
		number = len(p.kinds)
		p.kinds[k] = number
		since := span{}
		if k.since > 0 {
			since = p.number(int(k.since))
		}
		p.kindArgs = append(p.kindArgs,
			p.number(int(k.ttl)), p.put(string(rune(k.begins))), since, p.put(k.epoch), p.put(flag(k.skipped)))
	}
	return number
}

// more is what few runs bring: a claim, a holder or a floor.
func (p *pack) more(a *Acceptance) span {
	h := &a.Holder
	if a.Token == ([16]byte{}) && a.Floor == 0 && h.ID.IsZero() {
		return span{}
	}
	at := len(p.text)
	t := append(p.text, tokenText(a.Token)...)
	t = strconv.AppendInt(append(t, '|'), int64(a.Floor), 10)
	t = append(append(t, '|'), h.ID.String()...)
	t = strconv.AppendInt(append(t, '|'), int64(h.AcceptedAt), 10)
	t = strconv.AppendInt(append(t, '|'), int64(h.Until), 10)
	t = append(append(t, '|'), flag(h.Ended)...)
	t = h.PayloadHash.Append(append(t, '|'))
	p.text = h.RequestHash.Append(append(t, '|'))
	return p.from(at)
}

// body is the snapshot of an item, as it is stored.
func (p *pack) body(at int) []byte {
	s := p.runArgs[runArgs*at+1]
	return p.text[s.from:s.to]
}

func (p *pack) from(at int) span { return span{at, len(p.text)} }

func (p *pack) put(text string) span {
	at := len(p.text)
	p.text = append(p.text, text...)
	return p.from(at)
}

func (p *pack) number(n int) span {
	at := len(p.text)
	p.text = strconv.AppendInt(p.text, int64(n), 10)
	return p.from(at)
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func (p *pack) call() redisdb.Call {
	text := string(p.text)
	keys := make([]string, 0, len(p.partitionKeys)+len(p.slotKeys)+len(p.runKeys))
	for _, spans := range [...][]span{p.partitionKeys, p.slotKeys, p.runKeys} {
		for _, s := range spans {
			keys = append(keys, text[s.from:s.to])
		}
	}
	cfg := p.store.cfg
	n := len(p.slotArgs) + len(p.kindArgs) + len(p.runArgs)
	args := append(make([]any, 0, packArgs+n),
		cfg.Fence.Microseconds(), cfg.MaxEntries, cfg.MaxBytes, life.Milliseconds(), p.store.names.Wake(),
		len(p.partitions), len(p.slots), len(p.kinds))
	texts := make([]string, 0, n) // pointed into, so that an argument is no allocation
	for _, spans := range [...][]span{p.slotArgs, p.kindArgs, p.runArgs} {
		for _, s := range spans {
			texts = append(texts, text[s.from:s.to])
			args = append(args, &texts[len(texts)-1])
		}
	}
	return redisdb.Call{Script: acceptScript, Keys: keys, Args: args, Durable: true}
}
