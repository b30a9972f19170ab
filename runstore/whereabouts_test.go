package runstore

import (
	"errors"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

func TestWhereabouts(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	unknown := snapshot(run.Trigger{})
	if found, err := s.Whereabouts(t.Context(), unknown.ID); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("in an empty table: %q, %v", found, err)
	}
	for _, environment := range []string{"b", "a", "", "c", "ü", "a", "A"} {
		if environment == "" {
			environment = env
		}
		r := snapshot(run.Trigger{Environment: environment})
		s.want(Created, r)
		if found, err := s.Whereabouts(t.Context(), r.ID); found != environment || err != nil {
			t.Errorf("%q, %v; want %q", found, err, environment)
		}
	}
	if found, err := s.Whereabouts(t.Context(), unknown.ID); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("%q, %v", found, err)
	}
}
