//go:build unix

package main

import (
	"context"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

func TestExitStatusIsTheCommands(t *testing.T) {
	for _, tt := range []struct {
		command []string
		code    int
		fails   bool
	}{
		{[]string{"true"}, 0, false},
		{[]string{"sh", "-c", "exit 3"}, 3, false},
		{[]string{"sh", "-c", "kill -9 $$"}, 1, false},
		{[]string{"./no-such-command"}, 1, true},
	} {
		if code, err := run(t.Context(), tt.command); code != tt.code || (err != nil) != tt.fails {
			t.Errorf("%v: status %d, %v, want %d", tt.command, code, err, tt.code)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if code, err := run(ended, []string{"true"}); code == 0 || err == nil {
		t.Errorf("after an interrupt: status %d, %v", code, err)
	}
}
