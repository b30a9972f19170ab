package main

import (
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack"
)

// A node is asked by the settings that it was started with, and the exit status is
// the answer.
func TestHealth(t *testing.T) {
	t.Parallel()
	data := folder(t)
	stores, _ := sharedStores(t)
	node := startNode(t, data, stores...)
	info, err := devstack.ReadInfo(data)
	if err != nil {
		t.Fatal(err)
	}
	listen := strings.TrimPrefix(info.HTTP, "http://")
	for _, flags := range [][]string{nil, {"-live"}} {
		code, said, complaint := runHere(t, append([]string{"health", "-listen", listen}, flags...)...)
		if code != exitOK || said != "the node is well\n" {
			t.Errorf("health %v of a node that serves: %d, %q, %s", flags, code, said, complaint)
		}
	}
	node.stop(t)
	if code, _, complaint := runHere(t, "health", "-listen", listen); code != exitFailure {
		t.Errorf("health of a node that has stopped: %d, %s", code, complaint)
	}
	if code, _, complaint := runHere(t, "health", "-listen", "127.0.0.1:0"); code != exitUsage || !strings.Contains(complaint, "-listen") {
		t.Errorf("health of no port: %d, %s", code, complaint)
	}
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		":8030": "127.0.0.1:8030", "0.0.0.0:8030": "127.0.0.1:8030", "[::]:8030": "[::1]:8030",
		"127.0.0.1:1": "127.0.0.1:1", "node.example:8030": "node.example:8030",
	} {
		if got, err := reachable(listen); err != nil || got != want {
			t.Errorf("%s is reached at %q, %v; want %s", listen, got, err, want)
		}
	}
	for _, listen := range []string{"127.0.0.1:0", "8030", ""} {
		if at, err := reachable(listen); err == nil {
			t.Errorf("%q is reached at %s", listen, at)
		}
	}
}
