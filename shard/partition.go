package shard

import (
	"github.com/cespare/xxhash/v2"

	"github.com/e0ff5a15/mollifier/run"
)

// HashVersion names how a partition follows from a key. It is stored with the
// deployment: nodes of different versions must not share stores.
const HashVersion = 1

// Partition returns the partition of a key among n: xxhash64 of the key's
// encoding, modulo n. It is the same on every node, for ever; only placement
// depends on it, never identity.
func Partition(key run.Key, n int) int { return PartitionOf(Sum(key), n) }

// PartitionOf is [Partition] of a key whose [Sum] is known.
func PartitionOf(sum uint64, n int) int { return int(sum % uint64(n)) }

// Sum is the xxhash64 of the key's encoding.
func Sum(key run.Key) uint64 {
	var scratch [256]byte
	return xxhash.Sum64(key.Encode(scratch[:0]))
}
