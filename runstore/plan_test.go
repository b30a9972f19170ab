package runstore

import "testing"

// No connection keeps a plan that was made while the tables were empty.
func TestPlansAreMadeAnew(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var hot, cold string
	if err := s.hot.QueryRow(t.Context(), "show plan_cache_mode").Scan(&hot); err != nil {
		t.Fatal(err)
	}
	if err := s.cold.QueryRow(t.Context(), "show plan_cache_mode").Scan(&cold); err != nil {
		t.Fatal(err)
	}
	if hot != "force_custom_plan" || cold != hot {
		t.Errorf("plan_cache_mode is %s and %s", hot, cold)
	}
}
