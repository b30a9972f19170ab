package packet

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the length of a name in bytes.
const MaxName = 512

// ValidName reports whether a text can name a packet: a relative path of plain
// segments, as trigger/packet_x/payload.json.
func ValidName(name string) bool {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return false
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }) {
		return false
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// validEnvironment is what may stand as a folder: ids that package tenant mints do.
func validEnvironment(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
