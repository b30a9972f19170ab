package claim

import (
	"strconv"

	"github.com/e0ff5a15/mollifier/run"
)

// Every name that this package uses in Redis is built here. All of them are
// made of the prefix, numbers and hashes: no text of a customer is ever part
// of a name, so none can alias another's or move a slot.

// names builds the Redis names of one deployment.
type names struct {
	prefix string
	tags   []string // "<prefix>:{<partition>}:k:", by partition
}

func newNames(prefix string, partitions int) names {
	n := names{prefix: prefix, tags: make([]string, partitions)}
	for p := range n.tags {
		n.tags[p] = prefix + ":{" + strconv.Itoa(p) + "}:k:"
	}
	return n
}

// record is the key of a key's record. The partition is its hash tag, so that
// on Cluster all records of a partition live in one slot. The scripts take
// the text of the hash from its last 43 characters.
func (n names) record(partition int, h run.Hash) string { return n.tags[partition] + h.String() }

// wake is the channel on which ended claims are announced.
func (n names) wake() string { return n.prefix + ":wake" }

// deployment is the key that holds what all nodes must agree on.
func (n names) deployment() string { return n.prefix + ":deployment" }
