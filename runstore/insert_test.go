package runstore

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/e0ff5a15/mollifier/run"
)

// Rows are sent by environment and slot, whatever order they are given in: two inserts
// wait for each other in one direction only.
func TestRowsComeInTheOrderOfSlots(t *testing.T) {
	t.Parallel()
	var items []item
	for i := range 40 {
		tr := run.Trigger{Environment: []string{"env_B", "env_a", "env_ü", ""}[i%4]}
		if i%5 > 0 {
			tr.IdempotencyKey = string(rune('a' + i))
		}
		items = append(items, item{snapshot: snapshot(tr)})
	}
	var first [][2]string
	for range 5 {
		rand.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
		c := newColumns(false)
		c.addAll(items, func(i int) run.Instant { return run.Instant(i + 1) })
		var environments, ids []string
		var slots [][]byte
		var at []int64
		m := pgtype.NewMap()
		scan(t, m, pgtype.TextArrayOID, c.arrays[0].param(textOID), &ids)
		scan(t, m, pgtype.TextArrayOID, c.arrays[1].param(textOID), &environments)
		scan(t, m, pgtype.ByteaArrayOID, c.arrays[colSlot].param(bytesOID), &slots)
		scan(t, m, pgtype.Int8ArrayOID, c.arrays[6].param(integerOID), &at)
		var got [][2]string
		for i := range ids {
			got = append(got, [2]string{environments[i], ids[i]})
			if own := items[at[i]-1].snapshot.ID.String(); own != ids[i] {
				t.Fatalf("row %d has the acceptance of %s", i, own)
			}
			if i == 0 {
				continue
			}
			order := strings.Compare(environments[i-1], environments[i])
			if order == 0 && slots[i] != nil {
				order = bytes.Compare(slots[i-1], slots[i])
				if slots[i-1] == nil {
					order = 1
				}
			}
			if order > 0 {
				t.Errorf("row %d is before its time: %s %x after %s %x", i, environments[i], slots[i], environments[i-1], slots[i-1])
			}
		}
		c.release()
		if first == nil {
			first = got
		} else if !slices.Equal(first, got) {
			t.Error("the order depends on that of the items")
		}
	}
}
