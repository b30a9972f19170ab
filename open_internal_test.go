package mollifier

import (
	"fmt"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// A Postgres that stops answering while a node starts is no quarrel about partitions.
func TestStartNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for field, err := range map[string]error{
		"Config.Partitions": fmt.Errorf("runstore: %w: partitions are 8 here, and 16 in Postgres", runstore.ErrDisagrees),
		"Config.Postgres":   &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres"},
	} {
		if got := unlikeDeployment(err).Error(); !strings.HasPrefix(got, "mollifier: "+field+": ") {
			t.Errorf("%v becomes %q, want %s named", err, got, field)
		}
	}
}
