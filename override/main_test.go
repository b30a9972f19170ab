package override

import (
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }
