package run

import (
	"strconv"
	"time"
)

// spanText writes a duration for people, as callers write theirs: in the largest
// of days, hours, minutes and seconds that measures it without a rest.
func spanText(d time.Duration) string {
	if d < 0 {
		return "-" + spanText(-d)
	}
	for _, u := range [...]struct {
		suffix string
		unit   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d >= u.unit && d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.suffix
		}
	}
	return d.String()
}
