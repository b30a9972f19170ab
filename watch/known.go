package watch

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
)

// MaxExact is up to how many runs a client's knowledge is kept run by run, and
// how many sums it is kept in beyond that. It bounds the text to 1.4 kB, which
// fits into the headers that every server and proxy takes.
const MaxExact = 128

// Known is what a client has seen: the marks of its runs, or their sums by class.
// The zero Known has seen nothing. It is immutable.
type Known struct {
	marks map[Mark]struct{} // nil when there are sums
	sums  []uint64          // by class, MaxExact of them
}

// KnownOf is the knowledge of who has seen these members.
func KnownOf(members []Member) Known {
	if len(members) <= MaxExact {
		k := Known{marks: make(map[Mark]struct{}, len(members))}
		for _, m := range members {
			k.marks[m.Mark] = struct{}{}
		}
		return k
	}
	return Known{sums: sumsOf(members)}
}

func sumsOf(members []Member) []uint64 {
	sums := make([]uint64, MaxExact)
	for _, m := range members {
		sums[m.class()] += uint64(m.Mark)
	}
	return sums
}

// The text of a Known: this prefix, whose form clients expect of an offset, a
// letter for its kind, and the numbers.
const (
	knownPrefix = "0_"
	kindMarks   = 'm'
	kindSums    = 's'
)

var knownText = base64.RawURLEncoding.Strict()

// String is the text that a client carries, safe in a header and in a URL. Equal
// knowledge has equal texts.
func (k Known) String() string {
	kind, numbers := byte(kindMarks), make([]uint64, 0, MaxExact)
	if k.sums != nil {
		kind, numbers = kindSums, k.sums
	} else {
		for m := range k.marks {
			numbers = append(numbers, uint64(m))
		}
		slices.Sort(numbers)
	}
	b := make([]byte, 0, 8*len(numbers))
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return knownPrefix + string(kind) + knownText.EncodeToString(b)
}

// ParseKnown reads a text that [Known.String] wrote; ok is false for any other.
func ParseKnown(text string) (k Known, ok bool) {
	rest, ok := strings.CutPrefix(text, knownPrefix)
	if !ok || rest == "" || len(rest) > 1+knownText.EncodedLen(8*MaxExact) {
		return Known{}, false
	}
	b, err := knownText.DecodeString(rest[1:])
	if err != nil || len(b)%8 != 0 {
		return Known{}, false
	}
	numbers := make([]uint64, 0, MaxExact)
	for ; len(b) > 0; b = b[8:] {
		numbers = append(numbers, binary.BigEndian.Uint64(b))
	}
	switch {
	case rest[0] == kindSums && len(numbers) == MaxExact:
		return Known{sums: numbers}, true
	case rest[0] == kindMarks:
		k.marks = make(map[Mark]struct{}, len(numbers))
		for i, n := range numbers {
			if n == 0 || i > 0 && n <= numbers[i-1] {
				return Known{}, false // not what String writes
			}
			k.marks[Mark(n)] = struct{}{}
		}
		return k, true
	}
	return Known{}, false
}

// Has reports whether the client has seen this very state of a run. Where only
// sums are known it is false: nobody can tell.
func (k Known) Has(m Mark) bool {
	_, ok := k.marks[m]
	return ok
}

// news splits members into those that the client lacks and those that it has.
// The former are in the order in which they are to be told: by class where the
// client's knowledge is going to be sums, so that a class is told whole.
func (k Known) news(members []Member) (news, known []Member) {
	byClass := len(members) > MaxExact
	var sums []uint64
	if k.sums != nil {
		sums = sumsOf(members)
	}
	for _, m := range members {
		has := m.Mark != 0 && k.Has(m.Mark)
		if sums != nil {
			c := m.class()
			has = m.Mark != 0 && k.sums[c] == sums[c]
		}
		if has {
			known = append(known, m)
		} else {
			news = append(news, m)
		}
	}
	slices.SortFunc(news, func(a, b Member) int {
		if byClass {
			if c := a.class() - b.class(); c != 0 {
				return c
			}
		}
		return strings.Compare(a.ID.String(), b.ID.String())
	})
	return news, known
}
