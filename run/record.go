package run

import (
	"encoding/binary"
	"fmt"
)

// A stored record of this package is a version byte and a fixed number of
// length-prefixed parts. A part's length is shifted by one, so that nil (0) and
// empty (1) stay apart.

// recordOverhead is the most bytes that a record of so many parts has besides them.
func recordOverhead(parts int) int { return 1 + parts*binary.MaxVarintLen64 }

// appendRecord appends a record.
func appendRecord(b []byte, version byte, parts ...[]byte) []byte {
	b = append(b, version)
	for _, part := range parts {
		if part == nil {
			b = binary.AppendUvarint(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(part))+1)
		b = append(b, part...)
	}
	return b
}

// cutRecord reads a record into parts, which share memory with b. A version
// other than the one that this build writes is [ErrUnknownVersion].
func cutRecord(what string, b []byte, version byte, parts [][]byte) error {
	if len(b) == 0 {
		return fmt.Errorf("run: decode %s: empty record", what)
	}
	if b[0] != version {
		return fmt.Errorf("run: decode %s: version %d: %w", what, b[0], ErrUnknownVersion)
	}
	b = b[1:]
	for i := range parts {
		n, used := binary.Uvarint(b)
		if used <= 0 || (n > 0 && n-1 > uint64(len(b)-used)) {
			return fmt.Errorf("run: decode %s: part %d is cut short", what, i)
		}
		b = b[used:]
		if n > 0 {
			parts[i], b = b[:n-1:n-1], b[n-1:]
		}
	}
	if len(b) != 0 {
		return fmt.Errorf("run: decode %s: %d bytes after the end", what, len(b))
	}
	return nil
}
