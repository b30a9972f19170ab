package httpapi

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// maxDurationText is the longest text that is looked at.
const maxDurationText = 100

// durationUnits in the order in which a suffix must be tried: "hr" before "h".
var durationUnits = [...]struct {
	suffix string
	unit   time.Duration
}{
	{"hr", time.Hour},
	{"w", 7 * 24 * time.Hour},
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
}

var (
	errDuration = errors.New("must be a duration like 10m, 2h30m or 1w")
	errDelay    = errors.New("must be a duration like 10m or 2h30m, or an ISO 8601 date")
)

// parseDuration reads one or more of `\d+(w|d|hr|h|m|s)` with nothing between.
// Anything else, and anything that a time.Duration can not hold, is errDuration.
func parseDuration(text string) (time.Duration, error) {
	if text == "" || len(text) > maxDurationText {
		return 0, errDuration
	}
	var total time.Duration
	for rest := text; rest != ""; {
		digits := 0
		for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
			digits++
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, errDuration
		}
		rest = rest[digits:]
		unit := time.Duration(0)
		for _, u := range durationUnits {
			if strings.HasPrefix(rest, u.suffix) {
				unit, rest = u.unit, rest[len(u.suffix):]
				break
			}
		}
		const most = time.Duration(1<<63 - 1)
		if unit == 0 || time.Duration(n) > (most-total)/unit {
			return 0, errDuration
		}
		total += time.Duration(n) * unit
	}
	return total, nil
}

// formatDuration writes d in the grammar of parseDuration, largest unit first
// and rounded up to whole seconds; nothing for zero or less.
func formatDuration(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	whole := d / time.Second
	if d%time.Second != 0 {
		whole++
	}
	var b strings.Builder
	for _, u := range durationUnits[1:] {
		seconds := u.unit / time.Second
		if n := whole / seconds; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteString(u.suffix)
			whole -= n * seconds
		}
	}
	return b.String()
}

// dateLayouts are the ISO 8601 forms that JavaScript's toISOString and common
// libraries write. A date without a zone is UTC. Fractions of a second are
// accepted by all layouts that have seconds.
var dateLayouts = [...]string{
	time.RFC3339,
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04",
	"2006-01-02",
}

// parseDelay reads the moment until which a run is held back: a duration from
// now, or a date. A moment that is not after now is the zero time: run at once.
func parseDelay(text string, now time.Time) (time.Time, error) {
	at := time.Time{}
	if d, err := parseDuration(text); err == nil {
		at = now.Add(d)
	} else if at, err = parseDate(text); err != nil {
		return time.Time{}, err
	}
	if !at.After(now) {
		return time.Time{}, nil
	}
	return at.UTC(), nil
}

func parseDate(text string) (time.Time, error) {
	if len(text) <= maxDurationText {
		for _, layout := range dateLayouts {
			if at, err := time.Parse(layout, text); err == nil {
				return at, nil
			}
		}
	}
	return time.Time{}, errDelay
}
