package redisdb

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"

	"github.com/e0ff5a15/mollifier/run"
)

// Names builds the Redis names of one deployment; every name that this module
// uses in Redis is built here. They are made of the prefix, numbers, hashes,
// run ids and environment tags: no text of a customer is ever part of a name,
// so none can alias another's or move a slot.
type Names struct {
	prefix     string
	partitions []string // "<prefix>:{<partition>}:", by partition
}

func newNames(prefix string, partitions int) Names {
	n := Names{prefix: prefix, partitions: make([]string, partitions)}
	for p := range n.partitions {
		n.partitions[p] = prefix + ":{" + strconv.Itoa(p) + "}:"
	}
	return n
}

// EnvTag is an environment's id as names carry it: the id itself if it is 1 to
// 64 characters of [A-Za-z0-9_-] and does not begin with "x-", else "x-" and its
// hash. It holds neither braces nor colons, and differs for different ids.
func EnvTag(environment string) string {
	plain := len(environment) >= 1 && len(environment) <= 64 && (len(environment) < 2 || environment[:2] != "x-")
	for i := 0; plain && i < len(environment); i++ {
		c := environment[i]
		plain = c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
	}
	if plain {
		return environment
	}
	sum := sha256.Sum256([]byte(environment))
	return "x-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// Record is the record of a key: a string. The hash is its last 43 characters.
func (n Names) Record(partition int, h run.Hash) string {
	return n.partitions[partition] + "k:" + h.String()
}

// Entry is a buffered run: a string, or a hash if an earlier build wrote it.
func (n Names) Entry(partition int, envTag string, id run.ID) string {
	return n.partitions[partition] + "e:" + envTag + ":" + id.String()
}

// AppendRecord appends [Names.Record].
func (n Names) AppendRecord(b []byte, partition int, h run.Hash) []byte {
	return h.Append(append(append(b, n.partitions[partition]...), "k:"...))
}

// AppendEntry appends [Names.Entry].
func (n Names) AppendEntry(b []byte, partition int, envTag string, id run.ID) []byte {
	b = append(append(append(b, n.partitions[partition]...), "e:"...), envTag...)
	return append(append(b, ':'), id.String()...)
}

// Queue is the run ids of an environment that wait to be drained: a list, the
// next at its head.
func (n Names) Queue(partition int, envTag string) string {
	return n.partitions[partition] + "q:" + envTag
}

// Leases is the runs that are being drained: a sorted set of
// "<envTag>:<run>" by the end of the lease in microseconds.
func (n Names) Leases(partition int) string { return n.partitions[partition] + "l" }

// Taken is the run ids that one lease took: a list, which ends with the lease.
func (n Names) Taken(partition int, envTag, token string) string {
	return n.partitions[partition] + "t:" + envTag + ":" + token
}

// Index is the run ids of an environment that are buffered: a sorted set in
// lexical order, all scores 0.
func (n Names) Index(partition int, envTag string) string {
	return n.partitions[partition] + "i:" + envTag
}

// Envs is the environments that have something buffered: a hash from the tag to
// what it stands for.
func (n Names) Envs(partition int) string { return n.partitions[partition] + "envs" }

// Usage is how much is buffered: a hash from the tag ("*" for all) to a count
// and bytes.
func (n Names) Usage(partition int) string { return n.partitions[partition] + "usage" }

// Dead is the runs whose entry is of an unknown version: a list of
// "<envTag>:<run>".
func (n Names) Dead(partition int) string { return n.partitions[partition] + "dead" }

// Absent is never there. A script that forms names of its own and writes has it among
// its keys: a cluster executes no call of which some keys are there and some are not
// while their slot moves, so it is not refused in its middle at a name that has moved.
func (n Names) Absent(partition int) string { return n.partitions[partition] + "absent" }

// Beat is the number that a node has written last: a string.
func (n Names) Beat(partition int, node string) string {
	return n.partitions[partition] + "hb:" + node
}

// Rate is what the gate counts of an environment.
func (n Names) Rate(envTag string) string { return n.prefix + ":{g:" + envTag + "}:rate" }

// Size is how much an environment has buffered, in the gate's slot.
func (n Names) Size(envTag string) string { return n.prefix + ":{g:" + envTag + "}:size" }

// Wake is the channel on which ended claims are announced.
func (n Names) Wake() string { return n.prefix + ":wake" }

// Board is what nodes tell each other about themselves: a hash.
func (n Names) Board() string { return n.prefix + ":board" }

// Deployment is what all nodes must agree on: a string.
func (n Names) Deployment() string { return n.prefix + ":deployment" }
