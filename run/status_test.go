package run

import (
	"strings"
	"testing"
)

// transitions is the table that CanBecome must be, written out: one row for
// each status, one column for each that it may become, in the order of Statuses.
const transitions = `
                PENDING_VERSION DELAYED QUEUED DEQUEUED EXECUTING WAITING COMPLETED CANCELED FAILED CRASHED SYSTEM_FAILURE EXPIRED TIMED_OUT
PENDING_VERSION yes             no      yes    no       no        no      no        yes      no     no      yes            yes     no
DELAYED         no              yes     yes    no       no        no      no        yes      no     no      yes            yes     no
QUEUED          no              yes     yes    yes      yes       no      yes       yes      yes    yes     yes            yes     yes
DEQUEUED        no              no      yes    yes      yes       yes     yes       yes      yes    yes     yes            no      yes
EXECUTING       no              no      yes    no       yes       yes     yes       yes      yes    yes     yes            no      yes
WAITING         no              no      yes    no       yes       yes     yes       yes      yes    yes     yes            no      yes
COMPLETED       no              no      no     no       no        no      yes       no       no     no      no             no      no
CANCELED        no              no      no     no       no        no      no        yes      no     no      no             no      no
FAILED          no              no      no     no       no        no      no        no       yes    no      no             no      no
CRASHED         no              no      no     no       no        no      no        no       no     yes     no             no      no
SYSTEM_FAILURE  no              no      no     no       no        no      no        no       no     no      yes            no      no
EXPIRED         no              no      no     no       no        no      no        no       no     no      no             yes     no
TIMED_OUT       no              no      no     no       no        no      no        no       no     no      no             no      yes
`

func TestCanBecome(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(transitions), "\n")
	columns := strings.Fields(lines[0])
	if len(columns) != len(Statuses) || len(lines) != len(Statuses)+1 {
		t.Fatalf("the table has %d columns and %d rows for %d statuses", len(columns), len(lines)-1, len(Statuses))
	}
	for i, line := range lines[1:] {
		cells := strings.Fields(line)
		if cells[0] != string(Statuses[i]) || columns[i] != string(Statuses[i]) {
			t.Fatalf("row %s, column %s; want %s", cells[0], columns[i], Statuses[i])
		}
		for j, cell := range cells[1:] {
			if got := Statuses[i].CanBecome(Statuses[j]); got != (cell == "yes") {
				t.Errorf("%s.CanBecome(%s) = %t", Statuses[i], Statuses[j], got)
			}
		}
		if Statuses[i].CanBecome("NONSENSE") {
			t.Errorf("%s can become nonsense", Statuses[i])
		}
	}
}

func TestStatusProperties(t *testing.T) {
	t.Parallel()
	for _, s := range Statuses {
		final := strings.Contains(" COMPLETED CANCELED FAILED CRASHED SYSTEM_FAILURE EXPIRED TIMED_OUT ", " "+string(s)+" ")
		clears := final && s != Completed && s != Canceled
		if !s.Valid() || s.Final() != final || s.ClearsKey() != clears {
			t.Errorf("%s: valid %t, final %t, clears %t", s, s.Valid(), s.Final(), s.ClearsKey())
		}
	}
	for _, s := range []Status{"", "queued", "NONSENSE"} {
		if s.Valid() || s.Final() || s.ClearsKey() || s.CanBecome(Queued) {
			t.Errorf("%q is taken for a status", s)
		}
	}
}
