package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/e0ff5a15/mollifier/internal/devstack"
)

// welcome writes the ready line, which scripts wait for, and below it what a
// newcomer can paste. Only here and in the commands that make keys are keys
// printed; environments is empty unless the node seeded them.
func welcome(w io.Writer, program string, data string, n devstack.Info) {
	fmt.Fprintf(w, "mollifier is ready at %s\n", n.HTTP)
	if n.Admin != "" {
		fmt.Fprintf(w, "\n  For workers, operators, counters and the live page (only changes ask for a token): %s\n", n.Admin)
	}
	if len(n.Environments) == 0 {
		fmt.Fprintf(w, "\n  Environments: %s env list -data %s\n\n", program, quoteShell(data))
		return
	}
	fmt.Fprintf(w, "\n  Environments and their API keys (also in %s, with the stores' addresses):\n", filepath.Join(data, devstack.InfoFile))
	for _, e := range n.Environments {
		fmt.Fprintf(w, "    %-6s %s\n", e.Name, e.Key)
	}
	key := n.Environments[0].Key
	// One option a line would need continuations, which not every shell pastes well.
	trigger := fmt.Sprintf(`curl -s %s/api/v1/tasks/hello/trigger -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"payload":{"hello":"world"},"options":{"idempotencyKey":"order-42"}}'`, n.HTTP, key)
	fmt.Fprintf(w, `
  Trigger a run; the same key gives the same run, however often:
    %s

  Read it back:
    curl -s -H 'Authorization: Bearer %s' %s/api/v3/runs/$(%s | grep -o 'run_[0-9a-z]*' | head -n 1)

  A storm: 1,000 triggers at once of one key, and one run:
    %s

  A storm without a common key: over 100 triggers in 200 ms trip the gate, and the
  rest is mollified (count what was answered, by where its run rested):
    %s

%s  A larger one, compared with Postgres afterwards:
    %s demo -data %s

`, trigger, key, n.HTTP, trigger, stormCommand(n.HTTP, key), tripCommand(n.HTTP, key), watchLine(n.Admin), program, quoteShell(data))
}

// stormCommand sends far over 100 triggers in 200 ms from one curl process. The
// fragments, which are not sent, only make it repeat the request.
func stormCommand(url, key string) string {
	return fmt.Sprintf(`curl -Z --no-progress-meter --parallel-max 200 '%s/api/v1/tasks/storm/trigger#[1-1000]' -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"payload":"storm","options":{"idempotencyKey":"storm-1"}}' | grep -o '"id":"[^"]*"' | sort | uniq -c`, url, key)
}

// tripCommand has another key for each of its triggers, for a key belongs to its
// task, and curl counts in URLs only.
func tripCommand(url, key string) string {
	return fmt.Sprintf(`curl -Z --no-progress-meter --parallel-max 200 '%s/api/v1/tasks/storm-[1-1000]/trigger' -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"payload":"storm","options":{"idempotencyKey":"storm-2"}}' | grep -o '"state":"[^"]*"' | sort | uniq -c`, url, key)
}

// watchLine shows the gate, the buffer and the drain of a node that has an admin
// listener.
func watchLine(admin string) string {
	if admin == "" {
		return ""
	}
	return fmt.Sprintf("  Watch it in a browser: %s\n  or as counters of the gate, the buffer and the drain:\n    curl -s %s%s\n\n", admin, admin, statsPath)
}

// quoteShell makes a word that a shell reads as the text itself.
func quoteShell(s string) string {
	plain := func(r rune) bool {
		return r == '/' || r == '.' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
