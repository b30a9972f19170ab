package run

import (
	"testing"
	"time"
)

func TestSpanText(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Second: "1s", 5 * time.Second: "5s", MaxKeyTTL: "365d", -MaxKeyTTL: "-365d", 90 * time.Minute: "90m",
		25 * time.Hour: "25h", time.Minute: "1m", 0: "0s", 1500 * time.Millisecond: "1.5s",
	} {
		if got := spanText(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	trigger := full()
	trigger.TTL = 2 * MaxKeyTTL
	if err := trigger.Validate(); err == nil || err.Error() != "options.ttl: from 1s to 365d" {
		t.Error(err)
	}
}
